package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
)

// maxActions bounds the actions of a request. Each action takes memory besides its content, so
// that many small actions would take far more memory than their text.
const maxActions = 100_000

var (
	errTooManyActions = fmt.Errorf("there are more than %d actions, which is the limit", maxActions)
	errNothingToSync  = errors.New("the request has nothing to sync")
)

// syncDef reads a SyncDef from a body: JSON, see jsonDef; the files of a form, see formDef; or
// plain manifests. It consumes the body. The error is a badRequest.
func syncDef(h http.Header, body *chunks) (def platform.SyncDef, err error) {
	types := h.Values("Content-Type")
	if len(types) > 1 {
		return def, badRequest{errors.New("there are several Content-Type headers")}
	}
	var kind string
	var parameters map[string]string
	if len(types) == 1 && types[0] != "" {
		if kind, parameters, err = mime.ParseMediaType(types[0]); err != nil {
			return def, badRequest{fmt.Errorf("read Content-Type: %w", err)}
		}
	}
	switch kind {
	case "application/json":
		if def, err = jsonDef(body); err != nil {
			err = fmt.Errorf("read the request: %w", err)
		}
	case "multipart/form-data":
		if def, err = formDef(body, parameters["boundary"]); err != nil {
			err = fmt.Errorf("read the form: %w", err)
		}
	default:
		if text := body.drain(); len(text) > 0 {
			def.Actions = []platform.SyncAction{{ResourceID: "request", Apply: text}}
		}
	}
	if err == nil && len(def.Actions) == 0 {
		err = errNothingToSync
	}
	if err != nil {
		return platform.SyncDef{}, badRequest{err}
	}
	return def, nil
}

// addAction adds an action, or returns an error if it is empty.
func addAction(def *platform.SyncDef, action platform.SyncAction) error {
	if len(action.Delete) == 0 && len(action.Apply) == 0 {
		return errors.New("it is empty: it has nothing to delete or to apply")
	}
	def.Actions = append(def.Actions, action)
	return nil
}

// jsonDef reads a SyncDef in JSON:
//
//	{"actions": [{"resourceID": "web.yaml", "delete": "…", "apply": "…"}, …]}
//
// A member of an action may be missing or null. Unknown and duplicate keys are errors, also
// those that differ only in case: a program that inspects a request before this service must
// not interpret it differently.
func jsonDef(body *chunks) (def platform.SyncDef, err error) {
	d := json.NewDecoder(body)
	if err := expect(d, json.Delim('{')); err != nil {
		return def, err
	}
	for first := true; d.More(); first = false {
		switch key, err := d.Token(); {
		case err != nil:
			return def, err
		case key != "actions":
			return def, fmt.Errorf("unknown field %.100q; want actions", key)
		case !first:
			return def, fmt.Errorf("duplicate field %q", key)
		}
		if err := jsonActions(d, &def); err != nil {
			return def, err
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return def, err
	}
	if _, err := d.Token(); err != io.EOF {
		return def, errors.New("unexpected data after the JSON object")
	}
	return def, nil
}

// jsonActions reads an array of actions, one at a time: many small ones would take far more
// memory than their text.
func jsonActions(d *json.Decoder, def *platform.SyncDef) error {
	if err := expect(d, json.Delim('[')); err != nil {
		return err
	}
	for d.More() {
		if len(def.Actions) == maxActions {
			return errTooManyActions
		}
		var text json.RawMessage
		if err := d.Decode(&text); err != nil {
			return err
		}
		var one jsonform.Action
		err := unmarshalStrict(text, &one)
		action := platform.SyncAction{ResourceID: one.ResourceID}
		if one.Delete != "" {
			action.Delete = []byte(one.Delete)
		}
		if one.Apply != "" {
			action.Apply = []byte(one.Apply)
		}
		if err == nil {
			err = addAction(def, action)
		}
		if err != nil {
			return fmt.Errorf("action %d: %w", len(def.Actions)+1, err)
		}
	}
	return expect(d, json.Delim(']'))
}

func expect(d *json.Decoder, wanted json.Delim) error {
	switch token, err := d.Token(); {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case token != wanted:
		return fmt.Errorf("at byte %d: want %v", d.InputOffset(), wanted)
	}
	return nil
}

const (
	maxBoundary   = 70 // RFC 2046, section 5.1.1
	maxPartHeader = 8 << 10
)

// formDef reads the files of a form: those of the field "delete" are deleted, and those of
// "apply" are applied.
func formDef(body *chunks, boundary string) (def platform.SyncDef, err error) {
	if boundary == "" || len(boundary) > maxBoundary {
		return def, fmt.Errorf("the Content-Type has a boundary of %d bytes; want 1 to %d", len(boundary), maxBoundary)
	}
	parts := multipart.NewReader(body, boundary)
	var text chunks // of a part, see chunks.drain
	for {
		// NextPart would silently decode some parts.
		part, err := parts.NextRawPart()
		if err == io.EOF { //nolint:errorlint // if it is wrapped, the form ends early
			return def, nil
		} else if err != nil {
			return def, err
		}
		if len(def.Actions) == maxActions {
			return def, errTooManyActions
		}
		action, err := formAction(part, &text)
		if err != nil {
			return def, err
		}
		if err := addAction(&def, action); err != nil {
			return def, fmt.Errorf("part %d: %w", len(def.Actions)+1, err)
		}
	}
}

func formAction(part *multipart.Part, text *chunks) (action platform.SyncAction, err error) {
	size := 0
	for key, values := range part.Header {
		for _, value := range values {
			size += len(key) + len(value)
		}
	}
	encoding := part.Header.Get("Content-Transfer-Encoding")
	switch {
	case size > maxPartHeader:
		return action, fmt.Errorf("a part has a header of %d bytes; want at most %d", size, maxPartHeader)
	case len(part.Header.Values("Content-Disposition")) > 1:
		return action, errors.New("a part has several Content-Disposition headers")
	case encoding != "" && encoding != "binary" && encoding != "8bit" && encoding != "7bit":
		return action, fmt.Errorf("a part has Content-Transfer-Encoding %q; want files as they are", encoding)
	case part.FormName() != "apply" && part.FormName() != "delete":
		return action, fmt.Errorf("there is a field %q; want files in the fields apply and delete", part.FormName())
	case part.FileName() == "":
		return action, fmt.Errorf("a part of the field %q has no file name; want files, as curl sends with -F %[1]s=@file", part.FormName())
	}
	if _, err := io.Copy(text, part); err != nil {
		return action, err
	}
	action.ResourceID = part.FileName()
	if part.FormName() == "apply" {
		action.Apply = text.drain()
	} else {
		action.Delete = text.drain()
	}
	return action, nil
}
