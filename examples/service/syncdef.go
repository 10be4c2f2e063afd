package main

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/platformbus/platform"
)

// maxActions is how many actions a request to sync may have. Each takes memory of its own,
// beside what it holds, so that an action in a few bytes must not be had for nothing.
const maxActions = 100_000

var (
	errTooManyActions = fmt.Errorf("there are more than %d actions, which is the limit", maxActions)
	errNothingToSync  = errors.New("the request has nothing to sync in it")
)

// syncDef reads what is to be synced: JSON, see jsonDef; the files of a form, see formDef;
// or manifests as they are. It uses up the body. The error is a badRequest.
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
		if text := body.bytes(); len(text) > 0 {
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

// add adds an action, unless there are too many or it does nothing.
func add(def *platform.SyncDef, action platform.SyncAction) error {
	switch n := len(def.Actions) + 1; {
	case n > maxActions:
		return errTooManyActions
	case len(action.Delete) == 0 && len(action.Apply) == 0:
		return fmt.Errorf("action %d is empty: it has nothing to delete and nothing to apply", n)
	}
	def.Actions = append(def.Actions, action)
	return nil
}

// jsonDef reads a SyncDef in JSON:
//
//	{"actions": [{"resourceID": "web.yaml", "delete": "…", "apply": "…"}, …]}
//
// A member of an action may be missing or null. Unknown and duplicate keys are errors, also
// those that differ in case from what is wanted.
func jsonDef(body *chunks) (def platform.SyncDef, err error) {
	j := newJSONReader(body)
	err = j.object("the request", func(key string) error {
		if key != "actions" {
			return j.unknown(key, "actions")
		}
		return j.array(key, func() error {
			if len(def.Actions) == maxActions {
				return errTooManyActions
			}
			action, err := jsonAction(j)
			if err != nil {
				return err
			}
			return add(&def, action)
		})
	})
	if err == nil {
		err = j.end()
	}
	return def, err
}

func jsonAction(j *jsonReader) (action platform.SyncAction, err error) {
	err = j.object("an action", func(key string) (err error) {
		switch key {
		case "resourceID":
			var id []byte
			id, err = j.stringOrNull(key)
			action.ResourceID = string(id)
		case "delete":
			action.Delete, err = j.stringOrNull(key)
		case "apply":
			action.Apply, err = j.stringOrNull(key)
		default:
			err = j.unknown(key, "resourceID, delete or apply")
		}
		return err
	})
	return action, err
}

const (
	maxBoundary   = 70 // RFC 2046, section 5.1.1
	maxPartHeader = 8 << 10
)

// formDef reads the files of a form, those of the field "delete" to be deleted and those of
// "apply" to be applied.
func formDef(body *chunks, boundary string) (def platform.SyncDef, err error) {
	if boundary == "" || len(boundary) > maxBoundary {
		return def, fmt.Errorf("the Content-Type has a boundary of %d bytes; want 1 to %d", len(boundary), maxBoundary)
	}
	parts := multipart.NewReader(body, boundary)
	var text chunks // of a part, see chunks.bytes
	for {
		// Not NextPart, which would decode some parts without a word.
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
		if err := add(&def, action); err != nil {
			return def, err
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
		action.Apply = text.bytes()
	} else {
		action.Delete = text.bytes()
	}
	return action, nil
}
