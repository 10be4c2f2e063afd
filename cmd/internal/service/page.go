package service

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

// maxLimit is the maximum of the parameter limit.
const maxLimit = 1000

// A page says which part of a list a request wants.
type page struct {
	list  string // the name of the list
	limit int    // no limit if 0
	after string // only what has a greater ID; from the start if empty
}

// pageOf reads the parameters limit and continue.
func pageOf(query url.Values, list string) (p page, err error) {
	p.list = list
	if p.limit, err = number(query, "limit", 1, maxLimit); err != nil {
		return p, err
	}
	if token := query.Get("continue"); token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		after, ok := strings.CutPrefix(string(text), list+" ")
		if err != nil || !ok || after == "" {
			return p, parameterError("continue", token, "what a page of this list had as its continue")
		}
		p.after = after
	}
	return p, nil
}

// token returns the parameter continue for the page that begins after an ID. It depends on the
// ID only: what comes or goes meanwhile makes no page skip or repeat anything else.
func (p page) token(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.list + " " + after))
}

// A rest says what of a list follows a page.
type rest struct {
	Remaining int    `json:"remaining"`
	Continue  string `json:"continue,omitempty"` // for the next page, if there is more
}

// cut sorts a list by the IDs of its elements and returns the part that a page has.
func cut[E any](all []E, p page, id func(E) string) ([]E, rest) {
	slices.SortStableFunc(all, func(a, b E) int { return cmp.Compare(id(a), id(b)) })
	if p.after != "" {
		first, _ := slices.BinarySearchFunc(all, p.after+"\x00", func(e E, target string) int { return cmp.Compare(id(e), target) })
		all = all[first:]
	}
	if p.limit == 0 || len(all) <= p.limit {
		return all, rest{}
	}
	return all[:p.limit], rest{len(all) - p.limit, p.token(id(all[p.limit-1]))}
}
