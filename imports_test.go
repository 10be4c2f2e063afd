package platform_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/platformbus/platform"

// A layer is a folder with its subfolders, except those that are layers themselves.
type layer struct {
	// own lists the layers of this module that it may import, including itself.
	own []string
	// inTests lists further layers that its tests may import.
	inTests []string
	// others lists the modules it may import outside tests; nil stands for any.
	others []string
	// never lists modules that it may not import, even if others allows them.
	never []string
}

// layers is the whole tree, by folder. Imports point one way:
// flux <- root <- kubernetes, natsbus <- examples.
var layers = map[string]layer{
	"flux": {own: []string{"flux"}, others: []string{}},
	".": {
		own:     []string{".", "flux", "internal/collector", "internal/oneline"},
		inTests: []string{"examples/toy"}, // to be held to the contract, and broken
		others: []string{
			"github.com/go-kit/kit", "github.com/prometheus/client_golang", "github.com/pkg/errors",
			"go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes",
		},
	},
	"kubernetes": {
		own: slices.Concat([]string{"kubernetes", ".", "flux", "internal/collector"},
			kubernetesInternal("kinds", "parse", "redact", "api", "graph", "recent", "look", "apply", "rollout", "render")),
		inTests: []string{"kubernetes/manifest", "internal/controlplane"},
		never:   []string{"github.com/stretchr/testify", "github.com/nats-io", otelSDK},
	},
	// Both ask kinds and parse, so that they cannot disagree; neither needs the other.
	"kubernetes/manifest": {
		own:   append(kubernetesInternal("kinds", "parse", "redact", "render"), "kubernetes/manifest", ".", "flux"),
		never: []string{"github.com/stretchr/testify", "github.com/nats-io"},
	},
	"kubernetes/internal/kinds":  {own: kubernetesInternal("kinds"), never: []string{"github.com/stretchr/testify"}},
	"kubernetes/internal/graph":  {own: kubernetesInternal("graph"), others: []string{}},
	"kubernetes/internal/recent": {own: kubernetesInternal("recent"), others: []string{}},
	"kubernetes/internal/render": {own: kubernetesInternal("render"), others: []string{"go.yaml.in/yaml/v2"}},
	"kubernetes/internal/redact": {own: append(kubernetesInternal("redact", "kinds"), "internal/oneline"), never: []string{"github.com/stretchr/testify", "k8s.io/client-go"}},
	"kubernetes/internal/parse":  {own: kubernetesInternal("parse", "kinds", "redact"), never: []string{"github.com/stretchr/testify", "k8s.io/client-go"}},
	"kubernetes/internal/api":    {own: kubernetesInternal("api", "kinds", "recent", "redact"), never: []string{"github.com/stretchr/testify", otelSDK}},
	"kubernetes/internal/look":   {own: kubernetesInternal("look", "api", "kinds", "recent"), never: []string{"github.com/stretchr/testify"}},
	"kubernetes/internal/apply": {
		own:   kubernetesInternal("apply", "api", "graph", "kinds", "look", "parse", "recent", "redact"),
		never: []string{"github.com/stretchr/testify"},
	},
	"kubernetes/internal/rollout": {own: kubernetesInternal("rollout", "api", "kinds", "redact"), never: []string{"github.com/stretchr/testify"}},
	"natsbus": {
		own:     []string{"natsbus", "natsbus/internal/protocol", "natsbus/internal/wire", ".", "flux", "internal/collector"},
		inTests: []string{"internal/faultproxy", "internal/natstest"},
		never:   []string{"github.com/stretchr/testify", "k8s.io", otelSDK},
	},
	"natsbus/internal/wire": {
		own:    []string{"natsbus/internal/wire", ".", "flux"},
		others: []string{"github.com/fxamacker/cbor/v2", "github.com/klauspost/compress"},
	},
	"natsbus/internal/protocol": {own: []string{"natsbus/internal/protocol", "natsbus/internal/wire", ".", "flux"}, others: []string{}},
	"natsbus/internal/simulate": {own: []string{"natsbus/internal/simulate", "natsbus/internal/protocol", "natsbus/internal/wire", "flux"}, others: []string{}},
	"internal":                  {own: []string{"internal"}},
	"internal/natstest":         {own: []string{"internal/natstest"}, others: []string{"github.com/nats-io", "github.com/stretchr/testify"}},
	"internal/process":          {own: []string{"internal/process"}, others: []string{}},
	"internal/oneline":          {own: []string{"internal/oneline"}, others: []string{}},
	"internal/collector": {
		own:    []string{"internal/collector"},
		others: []string{"github.com/prometheus/client_golang"},
	},
	"internal/controlplane": {
		own:   []string{"internal/controlplane", "internal/process"},
		never: []string{"github.com/stretchr/testify"},
	},
	"internal/faultproxy": {
		own:     []string{"internal/faultproxy"},
		inTests: []string{"internal/natstest"},
		others:  []string{"golang.org/x/time"},
	},
	"examples": {
		own:     []string{"examples", "natsbus", "kubernetes", "kubernetes/manifest", ".", "flux", "internal/controlplane", "internal/process"},
		inTests: []string{"internal/faultproxy", "internal/natstest"},
		never:   []string{"github.com/stretchr/testify"},
	},
	"examples/toy":    {own: []string{"examples/toy", ".", "flux"}, others: []string{}},
	"examples/daemon": {own: []string{"examples/daemon", "natsbus", "kubernetes", ".", "flux"}, never: []string{"github.com/stretchr/testify"}},
	"examples/service": { // does not depend on Kubernetes
		own:   []string{"examples/service", "natsbus", ".", "flux"},
		never: []string{"github.com/stretchr/testify", "k8s.io"},
	},
	"docs": {inTests: []string{"internal/controlplane", "internal/process"}},
	// The programs.
	"cmd/platform": {
		own:     cmdInternal("client", "daemon", "service", "program"),
		inTests: []string{"cmd/platform", "kubernetes", "kubernetes/manifest", ".", "flux", "internal/controlplane", "internal/faultproxy", "internal/natstest", "internal/process"},
		never:   []string{"github.com/stretchr/testify"},
	},
	"cmd/internal/daemon": {
		own:   append(cmdInternal("daemon", "program"), "natsbus", "kubernetes", ".", "flux"),
		never: []string{"github.com/stretchr/testify"},
	},
	"cmd/internal/client": { // needs Kubernetes' manifests, and not its client
		own:   append(cmdInternal("client", "jsonform", "program"), "natsbus", "kubernetes/manifest", ".", "flux", "internal/oneline"),
		never: []string{"github.com/stretchr/testify", "k8s.io/client-go"},
	},
	"cmd/internal/service": { // does not need Kubernetes' client
		own:   append(cmdInternal("jsonform", "service", "program"), "natsbus", "kubernetes/manifest", ".", "flux", "internal/oneline"),
		never: []string{"github.com/stretchr/testify", "k8s.io"},
	},
	"cmd/internal/jsonform": {own: append(cmdInternal("jsonform"), "kubernetes/manifest", ".", "flux", "internal/oneline"), others: []string{}},
	"cmd/internal/program": {
		own:     append(cmdInternal("program"), "natsbus", ".", "flux", "internal/oneline"),
		inTests: []string{"internal/natstest"},
		never:   []string{"github.com/stretchr/testify", "k8s.io"},
	},
	// Modules of their own.
	"examples/transports": {own: []string{"examples/transports", ".", "flux"}},
	"bench":               {own: []string{"bench", "natsbus", "kubernetes", "kubernetes/manifest", ".", "flux", "internal/controlplane", "internal/faultproxy"}},
	"deploy":              {own: []string{"deploy", "natsbus", "kubernetes", ".", "flux"}}, // tests of what is deployed
	"hack":                {own: []string{"hack"}, inTests: []string{"internal/controlplane"}},
	"deploy/test/manifests": {
		inTests: []string{"kubernetes", ".", "internal/controlplane"},
		others:  []string{},
	},
}

func cmdInternal(names ...string) []string {
	for i, name := range names {
		names[i] = "cmd/internal/" + name
	}
	return names
}

// otelSDK is for programs and tests: the library knows only the API, so that programs choose.
const otelSDK = "go.opentelemetry.io/otel/sdk"

func kubernetesInternal(names ...string) []string {
	for i, name := range names {
		names[i] = "kubernetes/internal/" + name
	}
	return names
}

// layerOf returns the layer that a folder belongs to.
func layerOf(dir string) (string, bool) {
	for at := dir; at != "."; at = path.Dir(at) {
		if _, ok := layers[at]; ok {
			return at, true
		}
	}
	return ".", dir == "."
}

// checkImport returns an error if files of the folder dir may not import pkg.
func checkImport(dir, pkg string, inTest bool) error {
	from, ok := layerOf(dir)
	if !ok {
		return fmt.Errorf("folder %s is in no layer: say in imports_test.go what it may import", dir)
	}
	rules := layers[from]
	if pkg == module || strings.HasPrefix(pkg, module+"/") {
		folder := path.Clean(strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/"))
		to, ok := layerOf(folder)
		switch {
		case !ok:
			return fmt.Errorf("imports %s, which is in no layer", pkg)
		case slices.Contains(rules.own, to), inTest && slices.Contains(rules.inTests, to):
			return nil
		}
		return fmt.Errorf("%s may not import %s", from, pkg)
	}
	if first, _, _ := strings.Cut(pkg, "/"); inTest || !strings.Contains(first, ".") {
		return nil // the standard library has no dot
	}
	if within(rules.never, pkg) || rules.others != nil && !within(rules.others, pkg) {
		return fmt.Errorf("%s may not import %s", from, pkg)
	}
	return nil
}

func TestImportsPointOneWay(t *testing.T) {
	checked := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata"):
			return fs.SkipDir // as the go command does
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			pkg, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			checked++
			assert.NoError(t, checkImport(path.Dir(file), pkg, strings.HasSuffix(name, "_test.go")), file)
		}
		return nil
	})
	require.NoError(t, err)
	assert.Positive(t, checked)
}

// TestCheckImport checks the rules: what they refuse, and what they allow.
func TestCheckImport(t *testing.T) {
	for _, tt := range []struct {
		dir, pkg string
		inTest   bool
		want     string
	}{
		{"flux", "strings", false, ""},
		{"flux", "github.com/pkg/errors", false, "flux may not import github.com/pkg/errors"},
		{"flux", module, false, "flux may not import " + module},
		{"flux", module + "/flux", true, ""},
		{".", module + "/flux", false, ""},
		{".", "testing/synctest", false, ""},
		{".", "github.com/go-kit/kit/metrics", false, ""},
		{".", "github.com/go-kit/kitchen", false, ". may not import github.com/go-kit/kitchen"},
		{".", "github.com/stretchr/testify/assert", false, ". may not import github.com/stretchr/testify/assert"},
		{".", "github.com/stretchr/testify/assert", true, ""},
		{".", module + "/kubernetes", false, ". may not import " + module + "/kubernetes"},
		{".", module + "/natsbus", true, ". may not import " + module + "/natsbus"},
		{".", module + "/internal/controlplane", false, ". may not import " + module + "/internal/controlplane"},
		{".", module + "/internal/collector", false, ""},
		{"internal/collector", module, false, "internal/collector may not import " + module},
		{"kubernetes", module, false, ""},
		{"kubernetes", "k8s.io/client-go/dynamic", false, ""},
		{"kubernetes", module + "/kubernetes/manifest", false, "kubernetes may not import " + module + "/kubernetes/manifest"},
		{"kubernetes", module + "/kubernetes/manifest", true, ""},
		{"kubernetes/manifest", module + "/kubernetes", false, "kubernetes/manifest may not import " + module + "/kubernetes"},
		{"kubernetes/manifest", module + "/kubernetes/internal/apply", false, "kubernetes/manifest may not import " + module + "/kubernetes/internal/apply"},
		{"kubernetes/internal/kinds", module + "/kubernetes/internal/api", false, "kubernetes/internal/kinds may not import " + module + "/kubernetes/internal/api"},
		{"kubernetes/internal/graph", "k8s.io/api/core/v1", false, "kubernetes/internal/graph may not import k8s.io/api/core/v1"},
		{"kubernetes/internal/rollout", module + "/kubernetes/internal/apply", false, "kubernetes/internal/rollout may not import " + module + "/kubernetes/internal/apply"},
		{"kubernetes/manifest", module + "/natsbus", false, "kubernetes/manifest may not import " + module + "/natsbus"},
		{"kubernetes", module + "/internal/controlplane", true, ""},
		{"kubernetes", module + "/internal/controlplane", false, "kubernetes may not import " + module + "/internal/controlplane"},
		{"kubernetes", module + "/examples/demo", true, "kubernetes may not import " + module + "/examples/demo"},
		{"natsbus", module + "/kubernetes", false, "natsbus may not import " + module + "/kubernetes"},
		{"natsbus/internal/wire", module + "/natsbus/internal/protocol", false, "natsbus/internal/wire may not import " + module + "/natsbus/internal/protocol"},
		{"natsbus/internal/protocol", "github.com/nats-io/nats.go", false, "natsbus/internal/protocol may not import github.com/nats-io/nats.go"},
		{"natsbus/internal/protocol", module + "/natsbus", false, "natsbus/internal/protocol may not import " + module + "/natsbus"},
		{"natsbus", module + "/natsbus/internal/simulate", false, "natsbus may not import " + module + "/natsbus/internal/simulate"},
		{"natsbus", "k8s.io/client-go/dynamic", false, "natsbus may not import k8s.io/client-go/dynamic"},
		{".", "go.opentelemetry.io/otel/trace/noop", false, ""},
		{".", "go.opentelemetry.io/otel/sdk/trace", false, ". may not import go.opentelemetry.io/otel/sdk/trace"},
		{".", "go.opentelemetry.io/otel/sdk/trace", true, ""},
		{"natsbus", "go.opentelemetry.io/otel/propagation", false, ""},
		{"natsbus", "go.opentelemetry.io/otel/sdk/trace", false, "natsbus may not import go.opentelemetry.io/otel/sdk/trace"},
		{"kubernetes", "go.opentelemetry.io/otel/sdk/trace", false, "kubernetes may not import go.opentelemetry.io/otel/sdk/trace"},
		{"kubernetes/internal/api", "go.opentelemetry.io/otel/sdk/trace", false, "kubernetes/internal/api may not import go.opentelemetry.io/otel/sdk/trace"},
		{"natsbus", "github.com/stretchr/testify/require", false, "natsbus may not import github.com/stretchr/testify/require"},
		{"internal/controlplane/build", module + "/internal/controlplane/programs", false, ""},
		{"internal/controlplane", module + "/examples", false, "internal/controlplane may not import " + module + "/examples"},
		{"examples/demo", module + "/internal/controlplane", false, ""},
		{"examples/daemon", module + "/internal/controlplane", false, "examples/daemon may not import " + module + "/internal/controlplane"},
		{"examples/service", module + "/kubernetes", false, "examples/service may not import " + module + "/kubernetes"},
		{"examples/service", "k8s.io/client-go/rest", false, "examples/service may not import k8s.io/client-go/rest"},
		{"internal/process", module + "/internal/controlplane", false, "internal/process may not import " + module + "/internal/controlplane"},
		{".", module + "/examples/toy", true, ""},
		{".", module + "/examples/toy", false, ". may not import " + module + "/examples/toy"},
		{"examples/toy", module + "/kubernetes", false, "examples/toy may not import " + module + "/kubernetes"},
		{"examples/transports", module + "/flux", true, ""},
		{"examples/transports", module + "/natsbus", true, "examples/transports may not import " + module + "/natsbus"},
		{"bench/sync", module + "/examples/demo", false, "bench may not import " + module + "/examples/demo"},
		{"deploy/test", module + "/natsbus", true, ""},
		{"deploy/test", module + "/examples/demo", true, "deploy may not import " + module + "/examples/demo"},
		{"pkg/util", "strings", false, "folder pkg/util is in no layer: say in imports_test.go what it may import"},
		{"kubernetes", module + "/pkg/util", false, "imports " + module + "/pkg/util, which is in no layer"},
	} {
		err := checkImport(tt.dir, tt.pkg, tt.inTest)
		if tt.want == "" {
			assert.NoError(t, err, "%s imports %s", tt.dir, tt.pkg)
		} else {
			assert.EqualError(t, err, tt.want)
		}
	}
}

// within says whether pkg is one of the modules, or in one of them.
func within(modules []string, pkg string) bool {
	return slices.ContainsFunc(modules, func(m string) bool { return pkg == m || strings.HasPrefix(pkg, m+"/") })
}
