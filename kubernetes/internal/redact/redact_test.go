package redact_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/oneline"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// What the API server says of a Secret, or of any field that may hold one, keeps path and
// reason and loses the value; "hunter2" and what is around it stand for the value.
func TestHides(t *testing.T) {
	for _, c := range []struct {
		name   string
		secret bool
		text   string
		keeps  []string
	}{
		{"schema, string", true, `failed to create typed patch object (a/b; v1, Kind=Secret): .stringData.pin: expected string, got &value.valueUnstructured{Value:hunter2}`, []string{".stringData.pin: expected string, got "}},
		{"schema, quoted", true, `.data: expected map, got &value.valueUnstructured{Value:"hunter2}\n"}`, []string{".data: expected map"}},
		{"schema, map", true, `.data.a: expected string, got &value.valueUnstructured{Value:map[string]interface {}{"x":"}hunter2", "y":[]interface {}{"hunter2"}}}`, []string{".data.a: expected string"}},
		{"schema, as %v prints it", true, ".data: expected map, got &{hunter2}", []string{".data: expected map"}},
		{"schema, over lines", true, ".data: expected map, got &{a\nhunter2}", []string{".data: expected map"}},
		{"schema, several", true, "errors:\n  .data.a: expected string, got &value.valueUnstructured{Value:1hunter2}\n  .data.b: expected string, got &value.valueUnstructured{Value:\"hunter2\"}", []string{".data.a", ".data.b"}},
		{"environment", false, `.spec.template.spec.containers[name="main"].env[name="A"].value: expected string, got &value.valueUnstructured{Value:hunter2}`, []string{`env[name="A"].value`}},
		{"arguments", false, `Deployment "a" is invalid: spec.template.spec.containers[0].args[1]: Invalid value: "hunter2": why`, []string{"args[1]: Invalid value", ": why"}},
		{"command", false, `spec.containers[0].command: Invalid value: "hunter2": why`, []string{": why"}},
		{"a config map's data", false, `ConfigMap "a" is invalid: data[x]: Invalid value: "hunter2": why`, []string{"data[x]: ", ": why"}},
		{"template as JSON", false, `Job.batch "a" is invalid: spec.template: Invalid value: {"metadata":{"labels":{"a":"b: } hunter2"}},"spec":{"x":["hunter2"]}}: field is immutable`, []string{"spec.template: Invalid value: ", ": field is immutable"}},
		{"template as Go", false, `spec.template: Invalid value: core.PodTemplateSpec{ObjectMeta:v1.ObjectMeta{Name:"hunter2", Labels:map[string]string{"a":"hunter2"}}, Env:[]core.EnvVar{core.EnvVar{Value:"hunter2"}}}: field is immutable, spec.x: Required value`, []string{": field is immutable", "spec.x: Required value"}},
		{"list as Go", false, `spec.x: Invalid value: []core.EnvVar{core.EnvVar{Value:"hunter2"}}: why`, []string{": why"}},
		{"map as Go", false, `spec.x: Invalid value: map[string]string{"a":"hunter2"}: why`, []string{": why"}},
		{"list as JSON", false, `spec.x: Invalid value: ["hunter2"]: why`, []string{": why"}},
		{"without an end", false, `spec.x: Invalid value: {"a":"hunter2`, []string{"spec.x"}},
		{"several in brackets", true, `[data[a]: Invalid value: "hunter2": why, data[b]: Duplicate value: "hunter2"]`, []string{"data[a]", ": why", "data[b]", "]"}},
		{"no path", true, `Invalid value: "hunter2": why`, []string{": why"}},
		{"a mistyped field", true, `dta: Unsupported value: "hunter2": supported values: "a"`, []string{"supported values"}},
		{"an annotation", true, `metadata.annotations: Invalid value: "hunter2": why`, []string{": why"}},
		{"old decoders", true, `v1.Secret.Data: base64Codec: illegal base64 data, error found in #10 byte of ...|hunter2|..., bigger context ...|{"a":"hunter2"}|...`, []string{"illegal base64"}},
		{"numbers", true, `json: cannot unmarshal number 123e45 into Go struct field Secret.data of type string`, []string{"into Go struct field Secret.data"}},
		{"time", true, `parsing time "hunter2" as "2006-01-02T15:04:05Z07:00": cannot parse "hunter2" as "2006"`, []string{"parsing time"}},
		{"anchor", true, "line 3: unknown anchor 'hunter2' referenced", []string{"line 3: unknown anchor", "referenced"}},
		{"anchor with quotes", true, "unknown anchor 'x' hunter2' referenced", []string{"referenced"}},
		{"tag", true, "cannot decode !!str `hunter2` as a !!int", []string{"as a !!int"}},
		{"key", true, `invalid map key: map[interface {}]interface {}{"hunter2":1}`, []string{"invalid map key"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := redact.Of(c.secret, nil).Text(c.text)
			assert.NotContains(t, got, "hunter2")
			assert.NotContains(t, got, "123e45")
			for _, keeps := range c.keeps {
				assert.Contains(t, got, keeps)
			}
		})
	}
}

// Of what is no Secret the reason stays as it is.
func TestKeeps(t *testing.T) {
	for _, text := range []string{
		`Deployment.apps "a" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`,
		`spec.template.spec.containers[0].image: Invalid value: "A b": must not have whitespace`,
		`spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range`,
		`spec.type: Unsupported value: "X": supported values: "ClusterIP", "NodePort"`,
		`spec: Invalid value: "object": replicas may not be lowered`,
		`deployments.apps "a" is forbidden: User "b" cannot patch resource "deployments" in API group "apps" in the namespace "c"`,
		`Apply failed with 1 conflict: conflict with "kubectl" using v1: .data.value`,
		`namespaces "nowhere" not found`,
		`.spec.ports: duplicate entries for key [port=80,protocol="TCP"]`,
		`strconv.ParseInt: parsing "x": invalid syntax`,
		`.spec.replicas: field not declared in schema`,
	} {
		assert.Equal(t, text, redact.Of(false, nil).Text(text))
	}
	assert.Equal(t, `.spec.replicas: expected numeric (int or float), got string`, redact.Of(false, nil).Text(`.spec.replicas: expected numeric (int or float), got string`))
	assert.Equal(t, `.a: expected string, got "x"`, redact.Of(false, nil).Text(`.a: expected string, got &value.valueUnstructured{Value:"x"}`))
	for _, text := range []string{
		`secrets "a" is forbidden: User "b" cannot get resource "secrets" in API group "" in the namespace "c"`,
		`Secret "A" is invalid: metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of`,
		`type: Invalid value: "x": field is immutable`,
		`line 4: found character that cannot start any token`,
		`line 2: key "a" already set in map`,
	} {
		assert.Equal(t, text, redact.Of(true, nil).Text(text))
	}
}

// Webhooks and policies say what they like; what the definition holds is hidden wherever it
// stands.
func TestHidesTheDefinitionsValues(t *testing.T) {
	secret := redact.Of(true, []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","annotations":{"copy":"in-annotation"}},"type":"Opaque",
		"data":{"a":"aHVudGVyMg=="},"stringData":{"b":"line one\nline two","c":"7","d":123456}}`))
	got := secret.Text("denied: db has aHVudGVyMg== or hunter2, \"line one\\nline two\", line one line two, bGluZSBvbmUKbGluZSB0d28=, PIN 7 (not 77), 123456, in-annotation, of type Opaque")
	assert.Equal(t, "denied: db has (hidden) or (hidden), \"(hidden)\", (hidden), (hidden), PIN (hidden) (not 77), (hidden), (hidden), of type Opaque", got)

	pod := redact.Of(false, []byte(`{"kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"main","image":"example.com/web:1",
		"args":["--password=hunter2","web"],"env":[{"name":"TOKEN","value":"s3cret-token"},{"name":"N","value":"1"}]}]}}`))
	got = pod.Text("denied: web, 1 container: --password=hunter2 and s3cret-token in main (example.com/web:1), TOKEN")
	assert.Equal(t, "denied: web, 1 container: (hidden) and (hidden) in main (example.com/web:1), TOKEN", got)
}

// A log gets no value at all.
func TestContent(t *testing.T) {
	got := redact.Content().Text(`spec.x: Invalid value: "hunter2": field is immutable, spec.replicas: Invalid value: 80: why`)
	assert.Equal(t, `spec.x: Invalid value: (hidden): field is immutable, spec.replicas: Invalid value: (hidden): why`, got)
}

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain ünï 😀":      "plain ünï 😀",
		"two\n  lines\r\n": "two lines",
		"\x1b[2Jcleared":   `\x1b[2Jcleared`,
		"a\u202eb\u2028c":  `a\u202eb\u2028c`,
		"\xff":             `\xff`,
		"a\x00b":           `a\x00b`,
	} {
		assert.Equal(t, want, redact.Line(text), "%q", text)
	}
	for _, long := range []string{strings.Repeat("x", 1<<20), strings.Repeat("ü", 1<<20), strings.Repeat("\x1b", 1<<20)} {
		got := redact.Line(long)
		assert.LessOrEqual(t, len(got), oneline.Max)
		assert.Greater(t, len(got), oneline.Max-60)
		assert.Contains(t, got, "… (")
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	cause := errors.New("boom")
	short := fmt.Errorf("a: %w", cause)
	assert.Equal(t, short, redact.Error(short), "nothing to do")
	got := redact.Error(fmt.Errorf("a\nb: %w", cause))
	require.ErrorIs(t, got, cause)
	assert.Equal(t, "a b: boom", got.Error())
	assert.NoError(t, redact.Error(nil))
}

func TestJoin(t *testing.T) {
	one := errors.New("one")
	require.NoError(t, redact.Join(nil, nil))
	assert.Equal(t, one, redact.Join(nil, one))
	many := make([]error, 300_000)
	for i := range many {
		many[i] = errors.New("x")
	}
	got := redact.Join(append(many, one)...)
	require.ErrorIs(t, got, one)
	assert.Contains(t, got.Error(), "and 299901 more")
	assert.Less(t, len(got.Error()), 1000)
}

// Whatever a text holds, the result is short, on one line, and fit for a terminal.
func FuzzLine(f *testing.F) {
	f.Add("a\nb", false)
	f.Add("spec.template: Invalid value: {\"a\":\"\x1b\"}: field is immutable", true)
	f.Add("expected map, got &{a\n}", true)
	f.Add("unknown anchor '", true)
	f.Fuzz(func(t *testing.T, text string, secret bool) {
		got := redact.Line(redact.Of(secret, nil).Text(text))
		if len(got) > oneline.Max || strings.ContainsFunc(got, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
		if again := redact.Line(got); again != got {
			t.Errorf("not stable: %q, then %q", got, again)
		}
		// A value where the text says that there is one does not show.
		const value = "Zm9vYmFyYmF6"
		if strings.Contains(text, value) {
			return
		}
		for _, form := range []string{".data.x: expected string, got &value.valueUnstructured{Value:%q}", "data[x]: Invalid value: %q: " + text, "data[x]: Invalid value: {\"a\":%q}: why"} {
			if got := redact.Of(secret, nil).Text(fmt.Sprintf(form, value)); strings.Contains(got, value) {
				t.Errorf("%q", got)
			}
		}
	})
}

// What a review found to be shown, or to take too long.
func TestHidesWhatWasOnceMissed(t *testing.T) {
	secret := func(body string) redact.Object { return redact.Of(true, []byte(body)) }
	for _, c := range []struct {
		name string
		o    redact.Object
		text string
		want string // all of it
	}{
		{"the difference of what may not be changed", redact.Of(false, nil),
			"spec: Forbidden: pod updates may not change fields other than `image`\n  core.PodSpec{\n- \t\"--live=hunter2\"\n", "spec: Forbidden: pod updates may not change fields other than `image`\n(hidden)"},
		{"a value between two that may not be changed", redact.Of(true, nil),
			"[a: Forbidden: why, data[b]: Invalid value: \"hunter2\": why, spec: Forbidden: why\n- hunter2\n]", "[a: Forbidden: why, data[b]: Invalid value: (hidden): why, spec: Forbidden: why\n(hidden)"},
		{"a value that is a word of the text", redact.Of(false, []byte(`{"kind":"Job","spec":{"args":["value","immutable"]}}`)),
			`spec.template: Invalid value: {"args":["value"],"x":"hunter2"}: field is immutable`, `spec.template: Invalid value: (hidden): field is immutable`},
		{"a value that is a part of the mark", secret(`{"kind":"Secret","stringData":{"a":"(","b":"hidden"}}`),
			`data[a]: Invalid value: "hunter2": why`, `data[a]: Invalid value: (hidden): why`},
		{"a Secret by its kind", redact.Of(false, []byte(`{"kind":"Secret","spec":{"password":"hunter2"}}`)), `spec.password: Invalid value: "hunter2": why`, `spec.password: Invalid value: (hidden): why`},
		{"lines in data, quoted", secret(`{"data":{"a":"aHVudGVyMgpzd29yZGZpc2g="}}`), `denied: "hunter2\nswordfish"`, `denied: "(hidden)"`},
		{"a large number", secret(`{"data":{"pin":1234567890123456789}}`), `denied: 1234567890123456789`, `denied: (hidden)`},
		{"an element of a list", redact.Of(false, nil), `.spec.command: duplicate entries for key [="abc"]`, `.spec.command: duplicate entries for key [(hidden)]`},
		{"an element in a conflict", redact.Of(false, nil), `conflict with "x" using v1: .spec.args[="hunter2"]`, `conflict with "x" using v1: .spec.args[="(hidden)"]`},
		{"a bracket in a name", redact.Of(false, nil), `.env[name="A]"].value: expected string, got &value.valueUnstructured{Value:123}`, `.env[name="A]"].value: expected string, got (hidden)`},
		{"a time", redact.Of(true, nil), `data[a]: Invalid value: 2026-01-01T11:22:33Z: why`, `data[a]: Invalid value: (hidden): why`},
		{"a URL", redact.Of(true, nil), `parse "http://u:hunter2@h:port": invalid port`, `parse "(hidden)": invalid port`},
	} {
		assert.Equal(t, c.want, c.o.Text(c.text), c.name)
	}
}

// A text of any length, with any number of values, is read once.
func TestLongTexts(t *testing.T) {
	var text, body strings.Builder
	body.WriteString(`{"kind":"Secret","data":{`)
	for i := range 9_000 {
		fmt.Fprintf(&text, "data[k %d]: Invalid value: \"k %[1]d\": why, ", i)
		fmt.Fprintf(&body, `"k%d":"value-%[1]d",`, i)
	}
	body.WriteString(`"a":"b"}}`)
	o := redact.Of(true, []byte(body.String()))
	got := o.Text(strings.Repeat(text.String(), 10))
	assert.NotContains(t, got, `"k `)
	assert.LessOrEqual(t, len(got), 128<<10)

	for _, part := range []string{"Forbidden: Not found: ", "expected a, got ", "expected ", "[ : ", "got &{", "Invalid value: {", "as \"", "anchor '", "(", "] "} {
		o.Text(strings.Repeat(part, 64<<10)) // the test's own limit is the only clock
	}

	const value = "a-long-secret-value"
	o = redact.Of(true, []byte(`{"kind":"Secret","data":{"a":"`+value+`"}}`))
	for cut := range len(value) { // the end of what is read falls within the value
		got := o.Text(strings.Repeat("x ", 32<<10)[:64<<10-len(value)+cut] + value)
		if !strings.HasSuffix(got, redact.Hidden) {
			assert.NotContains(t, got, value[:max(cut, 4)], "cut at %d", cut)
		}
	}
	body.Reset()
	body.WriteString(`{"kind":"Secret","data":{`)
	for i := range 10_001 {
		fmt.Fprintf(&body, `"k%d":"value-%[1]d",`, i)
	}
	many := redact.Of(true, []byte(body.String()+`"a":"b"}}`))
	assert.NotContains(t, many.Text("denied: value-7"), "value-7")

	body.Reset()
	body.WriteString(`{"kind":"Secret","data":{`)
	for i := range 9_000 {
		fmt.Fprintf(&body, `"k%d":"aaaaaaaa%[1]d",`, i)
	}
	alike := redact.Of(true, []byte(body.String()+`"a":"aaaa"}}`))
	assert.Equal(t, strings.Repeat("a", 16<<10), alike.Text(strings.Repeat("a", 16<<10)))

	const depth = 400
	deep := strings.Repeat(`{"`+strings.Repeat("x", 100)+`":`, depth) + "[" + strings.Repeat("1,", 100_000) + `{"args":["hunter2"]}]` + strings.Repeat("}", depth)
	assert.Equal(t, "denied: (hidden)", redact.Of(false, []byte(deep)).Text("denied: hunter2"))
}

// Of values that begin with others, the longest that stands in a text is hidden, and a short one
// only as a word of its own.
func TestHidesTheLongestValue(t *testing.T) {
	o := redact.Of(true, []byte(`{"kind":"Secret","stringData":{"a":"pass","b":"password","c":"password-1","d":"password-12","e":"passive"}}`))
	for text, want := range map[string]string{
		"pass password password-1 password-12": "(hidden) (hidden) (hidden) (hidden)",
		"password-123 password-x passwords":    "(hidden)3 (hidden)-x (hidden)s",
		"passable pass-word pass":              "passable (hidden)-word (hidden)",
		"passivepass":                          "(hidden)pass",
	} {
		assert.Equal(t, want, o.Text(text), text)
	}
}
