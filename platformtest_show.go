package platform

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// mismatch returns the failure in which got was received where want was expected.
func mismatch(what string, got, want any) error {
	g, w := around(show(got), show(want))
	return fmt.Errorf("%s\n     got %s\n    want %s", what, g, w)
}

// show renders a value so that nil and empty differ, with bytes as text.
func show(v any) string {
	if err, ok := v.(error); ok {
		return fmt.Sprintf("%T %q", err, textOf(err))
	}
	var b strings.Builder
	render(&b, reflect.ValueOf(v))
	return b.String()
}

func render(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		b.WriteString("nil")
	case reflect.String:
		fmt.Fprintf(b, "%q", v.String())
	case reflect.Slice:
		switch {
		case v.IsNil():
			b.WriteString("nil")
		case v.Type().Elem().Kind() == reflect.Uint8:
			fmt.Fprintf(b, "%q", v.Bytes())
		default:
			b.WriteByte('[')
			for i := range v.Len() {
				if i > 0 {
					b.WriteByte(' ')
				}
				render(b, v.Index(i))
			}
			b.WriteByte(']')
		}
	case reflect.Map:
		if v.IsNil() {
			b.WriteString("nil")
			return
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return cmp.Compare(x.String(), y.String()) })
		b.WriteString("map[")
		for i, key := range keys {
			if i > 0 {
				b.WriteByte(' ')
			}
			render(b, key)
			b.WriteByte(':')
			render(b, v.MapIndex(key))
		}
		b.WriteByte(']')
	case reflect.Struct:
		b.WriteByte('{')
		for i := range v.NumField() {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(v.Type().Field(i).Name + ":")
			render(b, v.Field(i))
		}
		b.WriteByte('}')
	default:
		fmt.Fprint(b, v)
	}
}

// Of a value longer than showWhole, show renders only the context of the first difference:
// nobody reads 4 MiB.
const (
	showWhole  = 400
	showBefore = 60
	showAfter  = 200
)

// around shortens two renderings to the context of their first difference.
func around(got, want string) (string, string) {
	if max(len(got), len(want)) <= showWhole {
		return got, want
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	return excerpt(got, at), excerpt(want, at)
}

func excerpt(s string, at int) string {
	from, to := max(0, min(at, len(s))-showBefore), min(len(s), at+showAfter)
	short := strings.ToValidUTF8(s[from:to], "")
	if from > 0 {
		short = "…" + short
	}
	if to < len(s) {
		short += "…"
	}
	return fmt.Sprintf("%s (%d characters, different from character %d on)", short, len(s), at)
}

// excerptOf shortens a long ID or text.
func excerptOf[S ~string](s S) string { return shorten(string(s), 40) }

// shorten cuts a text after the number of bytes given, with a mark.
func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
