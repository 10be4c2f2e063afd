package manifest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// pod is a Pod with that text, indented by two, for its specification.
func pod(spec string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n" + spec
}

// one is a Pod with one container, a, and that text for its image.
func one(image string) string {
	return pod("  containers:\n  - name: a # the one\n    image: " + image + "\n    args: [x,  y]   \n")
}

func TestSetImages(t *testing.T) {
	const web = `# head
apiVersion: apps/v1
kind:   Deployment
metadata: {name: web}
spec:
  template:
    spec:
      initContainers:
      - image: 'busybox'  # init
        name: init
      containers:
        - name: "web"
          image: nginx:1   # the web
        - {name: side, image: envoy:1, args: ["nginx:1"]}
`
	a2 := map[string]string{"a": "x:2"}
	for _, c := range []struct {
		name, in string
		images   map[string]string
		want     string
	}{
		{"nothing asked for", web, nil, web},
		{"plain", web, map[string]string{"web": "nginx:2"}, strings.Replace(web, "image: nginx:1", "image: nginx:2", 1)},
		{"flow", web, map[string]string{"side": "envoy:2"}, strings.Replace(web, "envoy:1", "envoy:2", 1)},
		{
			"init container, and another", web, map[string]string{"init": "busybox:2", "web": "ng"},
			strings.NewReplacer("'busybox'", "'busybox:2'", "image: nginx:1", "image: ng").Replace(web),
		},
		{"the same", web, map[string]string{"web": "nginx:1"}, web},
		{"Windows line ends", strings.ReplaceAll(one("x:1"), "\n", "\r\n"), a2, strings.ReplaceAll(one("x:2"), "\n", "\r\n")},
		{"byte order marks", "\ufeff" + one("x:1") + "---\n\ufeff\n" + one("x:1"), a2, "\ufeff" + one("x:2") + "---\n\ufeff\n" + one("x:2")},
		{"characters of several bytes", "# äöü€😀\n" + one("x:1 # ünï"), a2, "# äöü€😀\n" + one("x:2 # ünï")},
		{"on one line", "--- {apiVersion: v1, kind: Pod, metadata: {name: pöd}, spec: {containers: [{name: a, image: x}]}}\n", a2, "--- {apiVersion: v1, kind: Pod, metadata: {name: pöd}, spec: {containers: [{name: a, image: x:2}]}}\n"},
		{"double quotes", one(`"a\"b\u0041\\"`), a2, one(`"x:2"`)},
		{"single quotes", one(`'it''s'`), a2, one(`'x:2'`)},
		{"empty", one(`""`), a2, one(`"x:2"`)},
		{"a number", one(`5`), a2, one(`x:2`)},
		{"to a number", one(`x`), map[string]string{"a": "5"}, one(`"5"`)},
		{"to what is no string unless quoted", one(`x`), map[string]string{"a": "y"}, one(`"y"`)},
		{"to quotes in plain", one(`x`), map[string]string{"a": `a"b\'`}, one(`"a\"b\\'"`)},
		{"to quotes in single", one(`'x'`), map[string]string{"a": `a'b`}, one(`'a''b'`)},
		{"to quotes in double", one(`"x"`), map[string]string{"a": `a"b\`}, one(`"a\"b\\"`)},
		{"to an indicator", one(`x`), map[string]string{"a": "*x"}, one(`"*x"`)},
		{"on the next line", one("\n      x:1"), a2, one("\n      x:2")},
		{"quoted, over two lines", one("\"x\n      y\""), a2, one(`"x:2"`)},
		{"literal", one("|-\n      x:1"), a2, one("|-\n      x:2")},
		{"literal, clipped", one("| # why\n      x:1"), a2, one("|- # why\n      x:2")},
		{"literal, kept", one("|2+\n      x:1\n\n"), a2, one("|2-\n      x:2\n\n")},
		{"folded", one(">\n      x:1  "), a2, one(">-\n      x:2")},
		{"tag", one("!!str x:1"), a2, one("!!str x:2")},
		{"tag and anchor", one("!!str &i\n      # so\n      'x'"), a2, one("!!str &i\n      # so\n      'x:2'")},
		{
			"alias",
			pod("  containers:\n  - {name: b, image: &i x:1}\n  - {name: a, image: *i }\n"), a2,
			pod("  containers:\n  - {name: b, image: &i x:1}\n  - {name: a, image: x:2 }\n"),
		},
		{
			"what an alias stands for",
			pod("  containers:\n  - {name: a, image: &i  'x:1'}\n  - {name: b, image: *i }\n  - {name: c, image: *i }\n"), a2,
			pod("  containers:\n  - {name: a, image: 'x:2'}\n  - {name: b, image: &i  'x:1' }\n  - {name: c, image: *i }\n"),
		},
		{
			"what an alias stands for, and the alias otherwise",
			pod("  containers:\n  - {name: a, image: &i x:1}\n  - {name: b, image: *i }\n"), map[string]string{"a": "x:2", "b": "x:3"},
			pod("  containers:\n  - {name: a, image: &i x:2}\n  - {name: b, image: x:3 }\n"),
		},
		{
			"all that an anchor stands for",
			pod("  containers:\n  - {name: a, image: &i x:1}\n  - {name: b, image: *i }\n"), map[string]string{"a": "x:2", "b": "x:2"},
			pod("  containers:\n  - {name: a, image: &i x:2}\n  - {name: b, image: *i }\n"),
		},
		{
			"an anchor elsewhere",
			"metadata: {name: p, annotations: {i: &i 'x:1'}}\n" + "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: *i}]}\n", a2,
			"metadata: {name: p, annotations: {i: &i 'x:1'}}\n" + "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: x:2}]}\n",
		},
		{
			"merged, for all",
			pod("  containers:\n  - &b\n    name: a\n    image: x:1\n  - <<: *b\n    tty: true\n"), a2,
			pod("  containers:\n  - &b\n    name: a\n    image: x:2\n  - <<: *b\n    tty: true\n"),
		},
		{
			"merged from one of several",
			strings.Replace(pod("  containers:\n  - {<<: [*c, *b], name: a}\n  - {image: z, <<: *c, name: d}\n"), "name: p", "name: p, annotations: &b {image: x}, labels: &c {tty: x}", 1), map[string]string{"d": "z:2"},
			strings.Replace(pod("  containers:\n  - {<<: [*c, *b], name: a}\n  - {image: z:2, <<: *c, name: d}\n"), "name: p", "name: p, annotations: &b {image: x}, labels: &c {tty: x}", 1),
		},
		{
			"merged, for one that is named otherwise",
			pod("  containers:\n  - &b\n    name: a\n    image: x:1 # one\n  - <<: *b\n    # two\n    name: b\n"), map[string]string{"b": "x:2"},
			pod("  containers:\n  - &b\n    name: a\n    image: x:1 # one\n  - <<: *b\n    # two\n    image: x:2\n    name: b\n"),
		},
		{
			"merged, for the one that is merged",
			pod("  containers:\n  - &b\n    name: a\n    image: x:1 # one\n  - <<: *b\n    # two\n    name: b\n"), a2,
			pod("  containers:\n  - &b\n    name: a\n    image: x:2 # one\n  - <<: *b\n    # two\n    image: x:1\n    name: b\n"),
		},
		{
			"merged, after the name",
			pod("  containers:\n  - &b {name: a, image: 'x:1'}\n  - name: b\n    <<: *b # so\n  - {name: c, <<: *b}\n"), a2,
			pod("  containers:\n  - &b {name: a, image: 'x:2'}\n  - name: b\n    <<: *b # so\n    image: x:1\n  - {name: c, <<: *b, image: x:1}\n"),
		},
		{
			"merged, at the end of the text",
			strings.TrimSuffix(pod("  containers:\n  - &b {name: a, image: x:1}\n  - name: b\n    <<: *b\n"), "\n"), a2,
			pod("  containers:\n  - &b {name: a, image: x:2}\n  - name: b\n    <<: *b\n    image: x:1"),
		},
		{
			"merged, with Windows line ends",
			strings.ReplaceAll(pod("  containers:\n  - &b {name: a, image: x:1}\n  - name: b\n    <<: *b\n  - <<: *b\n    name: c\n"), "\n", "\r\n"), a2,
			strings.ReplaceAll(pod("  containers:\n  - &b {name: a, image: x:2}\n  - name: b\n    <<: *b\n    image: x:1\n  - <<: *b\n    image: x:1\n    name: c\n"), "\n", "\r\n"),
		},
		{
			"merged in a chain",
			pod("  containers:\n  - &b {name: a, image: x:1}\n  - &c {<<: *b, name: b}\n  - {<<: *c, name: c}\n"), map[string]string{"b": "x:2"},
			pod("  containers:\n  - &b {name: a, image: x:1}\n  - &c {<<: *b, image: x:2, name: b}\n  - {<<: *c, image: x:1, name: c}\n"),
		},
		{
			"merged by several",
			strings.Replace(pod("  containers:\n  - {name: a, <<: [*c, *b ]}\n  - name: b\n    <<: *c\n    <<: *b\n"), "name: p", "name: p, annotations: &b {image: x}, labels: &c {tty: x}", 1), a2,
			strings.Replace(pod("  containers:\n  - {name: a, <<: [*c, *b ], image: x:2}\n  - name: b\n    <<: *c\n    <<: *b\n"), "name: p", "name: p, annotations: &b {image: x}, labels: &c {tty: x}", 1),
		},
		{
			"merged from what is no container",
			strings.Replace(pod("  containers:\n  - <<: *b\n    name: a\n  - <<: *b\n    name: b\n"), "name: p", "name: p, annotations: &b {image: x}", 1), a2,
			strings.Replace(pod("  containers:\n  - <<: *b\n    image: x:2\n    name: a\n  - <<: *b\n    name: b\n"), "name: p", "name: p, annotations: &b {image: x}", 1),
		},
		{"ephemeral", pod("  ephemeralContainers: [{name: a, image: x}]\n"), a2, pod("  ephemeralContainers: [{name: a, image: x:2}]\n")},
		{
			"CronJob",
			"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{image: x, name: a}]}}}}}\n", a2,
			"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{image: x:2, name: a}]}}}}}\n",
		},
		{
			"PodTemplate",
			"apiVersion: v1\nkind: PodTemplate\nmetadata: {name: c}\ntemplate: {spec: {containers: [{image: x, name: a}]}}\n", a2,
			"apiVersion: v1\nkind: PodTemplate\nmetadata: {name: c}\ntemplate: {spec: {containers: [{image: x:2, name: a}]}}\n",
		},
		{
			"custom kind",
			"apiVersion: argoproj.io/v1\nkind: Rollout\nmetadata: {name: c}\nspec: {template: {spec: {containers: [{image: x, name: a}]}}}\n", a2,
			"apiVersion: argoproj.io/v1\nkind: Rollout\nmetadata: {name: c}\nspec: {template: {spec: {containers: [{image: x:2, name: a}]}}}\n",
		},
		{
			"typed list in a List",
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: PodList\n  items:\n  - metadata: {name: p}\n    spec: {containers: [{name: a, image: x}]}\n", a2,
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: PodList\n  items:\n  - metadata: {name: p}\n    spec: {containers: [{name: a, image: x:2}]}\n",
		},
		{
			"JSON",
			"\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\n\t\"metadata\":{\"name\":\"p\"}, \"spec\" : {\"containers\" : [ {\"image\" : \"x\\/1\\ud83d\\ude00\",\"name\":\"a\"}]}}", map[string]string{"a": `y"z`},
			"\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\n\t\"metadata\":{\"name\":\"p\"}, \"spec\" : {\"containers\" : [ {\"image\" : \"y\\\"z\",\"name\":\"a\"}]}}",
		},
		{"several documents", cm("x") + "---\n" + one("x") + "---\n" + cm("z") + "--- # here\n" + one("z") + "---", a2, cm("x") + "---\n" + one("x:2") + "---\n" + cm("z") + "--- # here\n" + one("x:2") + "---"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := manifest.SetImages([]byte(c.in), c.images)
			require.NoError(t, err)
			assert.Equal(t, c.want, string(got))
			again, err := manifest.SetImages(got, c.images)
			require.NoError(t, err)
			assert.Equal(t, c.want, string(again), "again")
		})
	}
}

func TestSetImagesRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		images   map[string]string
		want     string
		noMatch  bool
	}{
		{"no such container", one("x"), map[string]string{"b": "y"}, `set images: no matching images: no container is named "b"`, true},
		{"some are missing", one("x"), map[string]string{"c": "y", "a": "y", "b": "y"}, `no container is named "b" or "c"`, true},
		{"no pod", cm("a"), map[string]string{"a": "y"}, `no container is named "a"`, true},
		{"nothing", "", map[string]string{"a": "y"}, `no container is named "a"`, true},
		{"a name that is no string", pod("  containers:\n  - name: yes\n    image: x\n"), map[string]string{"yes": "y"}, `no container is named "yes"`, true},
		{"no image", pod("  containers:\n  - name: a\n"), map[string]string{"a": "y"}, `document at line 1: container "a" has no image to set`, false},
		{"null", cm("c") + "---\n" + one("~"), map[string]string{"a": "y"}, `document at line 5: container "a" has no image to set`, false},
		{"no string", one("{}"), map[string]string{"a": "y"}, `container "a" has an image that is not a string`, false},
		{"malformed", "a: [", map[string]string{"a": "y"}, "document at line 1", false},
		{"empty", one("x"), map[string]string{"a": ""}, `container "a": the image to set is empty`, false},
		{"with a space", one("x"), map[string]string{"a": "x y"}, `the image to set, "x y", has spaces or control characters`, false},
		{"with a line end", one("x"), map[string]string{"a": "x\n"}, "control characters", false},
		{"with a control character", one("x"), map[string]string{"a": "x\x00"}, "control characters", false},
		{"not UTF-8", one("x"), map[string]string{"a": "x\xff"}, "is not UTF-8", false},
		{"shared with what is no container", strings.Replace(pod("  containers: [*b]\n"), "name: p", "name: p, annotations: &b {name: a, image: x}", 1), map[string]string{"a": "y"}, "without changing something else", false},
		{
			"merged, with no place for another", pod("  containers:\n  - &b {name: a, image: x}\n  - ? <<\n    : *b\n    ? name\n    : b\n"), map[string]string{"a": "y"}, "cannot have different ones", false,
		},
		{"over several lines", one("x\n      y"), map[string]string{"a": "y"}, "over several lines", false},
		{"literal, over several lines", one("|\n      x\n      y"), map[string]string{"a": "y"}, "over several lines", false},
		{"binary", one("!!binary eA=="), map[string]string{"a": "y:1"}, "the images cannot be set where they are written", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := manifest.SetImages([]byte(c.in), c.images)
			require.ErrorContains(t, err, c.want)
			assert.Nil(t, got)
			assert.Equal(t, c.noMatch, strings.Contains(err.Error(), platform.ErrNoMatchingImages.Error()))
			if c.noMatch {
				require.ErrorIs(t, err, platform.ErrNoMatchingImages)
			}
			assert.NotContains(t, err.Error(), "\n", "one line")
		})
	}
}
