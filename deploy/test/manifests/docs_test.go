package manifests_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var (
	shBlock   = regexp.MustCompile("(?s)```sh\n(.*?)```")
	yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	link      = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// What docs/deploy.md tells to run and to read is there: files, values of the chart, Secrets,
// arguments of the Dockerfile, flags of the program.
func TestDocsShowWhatIsThere(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(tree, "docs/deploy.md"))
	require.NoError(t, err)
	for _, match := range link.FindAllStringSubmatch(string(text), -1) {
		_, err := os.Stat(filepath.Join(tree, "docs", match[1]))
		assert.NoError(t, err)
	}
	var secrets []string
	seen := map[string]int{}
	for _, block := range shBlock.FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			words := strings.Fields(strings.ReplaceAll(line, "'", ""))
			seen[words[0]]++
			if i := slices.Index(words, "generic"); i > 0 {
				_, file, ok := strings.Cut(words[i+2], "--from-file=")
				require.True(t, ok, line)
				key, _, _ := strings.Cut(file, "=")
				secrets = append(secrets, words[i+1]+"/"+key)
			}
			for i, word := range words {
				if strings.HasPrefix(word, "deploy/") {
					_, err := os.Stat(filepath.Join(tree, word))
					assert.NoError(t, err, line)
				}
				switch word {
				case "-k":
					assert.NotEmpty(t, ofKustomize(t, filepath.Join(tree, words[i+1])), line)
				case "--build-arg":
					name, _, _ := strings.Cut(words[i+1], "=")
					assert.Contains(t, argsOfDockerfile(t), name, line)
				}
			}
			switch {
			case words[0] == "helm":
				values := map[string]any{}
				for i, word := range words {
					if word == "--set" {
						require.NoError(t, strvals.ParseInto(words[i+1], values))
					}
				}
				renderValues(t, values)
			case strings.Contains(line, "docker run"):
				i := slices.Index(words, "daemon")
				output, code := run(t, nil, append(slices.Clone(words[i:]), "--help")...)
				assert.Equal(t, 0, code, output)
			}
		}
	}
	for _, command := range []string{"docker", "helm", "kubectl", "openssl", "install", "systemctl"} {
		assert.Positive(t, seen[command], command)
	}

	// The Secrets are those that the base refers to.
	var wanted []string
	for _, object := range ofKustomize(t, "../../base") {
		volumes, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "volumes")
		require.NoError(t, err)
		containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		require.NoError(t, err)
		for _, volume := range volumes {
			v := volume.(map[string]any)
			for _, arg := range containers[0].(map[string]any)["args"].([]any) {
				if _, file, ok := strings.Cut(arg.(string), "=/"+v["name"].(string)+"/"); ok {
					wanted = append(wanted, v["secret"].(map[string]any)["secretName"].(string)+"/"+file)
				}
			}
		}
	}
	assert.ElementsMatch(t, wanted, secrets)

	blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
	require.Len(t, blocks, 1)
	values := valuesOf(t, required...)
	var more map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(blocks[0][1]), &more))
	renderValues(t, util.CoalesceTables(more, values))
}

func renderValues(t *testing.T, values map[string]any) {
	t.Helper()
	c, err := loader.Load(chart)
	require.NoError(t, err)
	_, err = util.ToRenderValues(c, values, common.ReleaseOptions{Name: "platform", Namespace: "platform"}, common.DefaultCapabilities)
	require.NoError(t, err)
}

var allowFlag = regexp.MustCompile(`--role (\w+) --allow-pub '(.*)' --allow-sub '(.*)'`)

// The permissions that docs/deploy.md has for an operator's JWTs are those of users.conf, for the
// user called a.
func TestDocsPermitWhatIsPermitted(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(tree, "docs/deploy.md"))
	require.NoError(t, err)
	users, err := os.ReadFile("../../nats/users.conf")
	require.NoError(t, err)
	scopes := allowFlag.FindAllStringSubmatch(string(page), -1)
	require.Len(t, scopes, 2)
	for _, scope := range scopes {
		user := map[string]string{"daemon": "daemon-of-a", "service": "service"}[scope[1]]
		list := func(subjects string) string {
			return `\["` + strings.ReplaceAll(regexp.QuoteMeta(strings.ReplaceAll(subjects, "{{name()}}", "a")), ",", `", "`) + `"\]`
		}
		assert.Regexp(t, `user: `+user+`,.*\n\s*publish:\s+`+list(scope[2])+`\n\s*subscribe: `+list(scope[3]), string(users))
	}
}

// argsOfDockerfile returns the names of all arguments.
func argsOfDockerfile(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile(dockerfile)
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`(?m)^ARG (\w+)`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, match[1])
	}
	return names
}
