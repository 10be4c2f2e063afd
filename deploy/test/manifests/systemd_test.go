package manifests_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const unitFile = "../../systemd/platform-daemon.service"

// readUnit returns the settings of the unit's sections, as in "Service.Restart".
func readUnit(t *testing.T) map[string][]string {
	t.Helper()
	file, err := os.Open(unitFile)
	require.NoError(t, err)
	defer file.Close()
	options, err := unit.DeserializeOptions(file)
	require.NoError(t, err)
	settings := map[string][]string{}
	for _, o := range options {
		settings[o.Section+"."+o.Name] = append(settings[o.Section+"."+o.Name], o.Value)
	}
	return settings
}

// The unit restarts the daemon when that may help, with growing pauses and without an end, and
// not after the exit code of wrong settings.
func TestUnitRestarts(t *testing.T) {
	settings := readUnit(t)
	for name, want := range map[string]string{
		"Unit.StartLimitIntervalSec":       "0",
		"Service.Restart":                  "on-failure", // not after 0: it was told to end
		"Service.RestartPreventExitStatus": "2",
		"Service.RestartSec":               "1s",
		"Service.RestartSteps":             "8",
		"Service.RestartMaxDelaySec":       "5min",
		"Service.LimitCORE":                "0",
	} {
		assert.Equal(t, []string{want}, settings[name], name)
	}
	_, code := run(t, nil, "daemon")
	assert.Equal(t, 2, code, "nothing is set")
	output, code := run(t, nil, "daemon", "--instance=a", "--nats=nats://127.0.0.1:1", "--kubeconfig=/nowhere")
	assert.Equal(t, 1, code, output)
}

// A crash does not look like wrong settings: with the environment of the unit it ends by a signal.
func TestUnitRestartsAfterACrash(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), program(t), "service", "--embedded-nats=127.0.0.1:0", "--listen=127.0.0.1:0")
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{"HOME=" + cmd.Dir}, readUnit(t)["Service.Environment"]...)
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	crashed, lines := false, bufio.NewScanner(log)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "serving HTTP") {
			require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT)) // to the Go runtime it is like a panic
			crashed = true
		}
	}
	cmd.Wait() //nolint:errcheck // it has crashed
	assert.True(t, crashed)
	assert.True(t, cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(), cmd.ProcessState)
}

// The program is called with flags that it has, and each file that it is given is loaded as a
// credential of the unit, since the unit's user cannot read others.
func TestUnitCallsTheProgram(t *testing.T) {
	settings := readUnit(t)
	require.Len(t, settings["Service.ExecStart"], 1)
	words := strings.Fields(settings["Service.ExecStart"][0])
	assert.Equal(t, "/usr/local/bin/platform", words[0])
	output, code := run(t, nil, append(slices.Clone(words[1:]), "--help")...) // an unknown flag fails all the same
	assert.Equal(t, 0, code, output)

	var files []string
	for _, word := range words {
		if _, file, ok := strings.Cut(word, "=${CREDENTIALS_DIRECTORY}/"); ok {
			files = append(files, file+":/etc/platform/"+file)
		}
	}
	assert.Len(t, files, 3)
	assert.ElementsMatch(t, files, settings["Service.LoadCredential"])
	assert.Equal(t, []string{"yes"}, settings["Service.DynamicUser"])
	assert.Equal(t, []string{"strict"}, settings["Service.ProtectSystem"])
}

// systemd itself finds nothing wrong, and little that the daemon is exposed to.
func TestUnitAsSystemdSeesIt(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze; the other tests of the unit need none")
	}
	text, err := os.ReadFile(unitFile)
	require.NoError(t, err)
	// verify wants the program to be there.
	file := filepath.Join(t.TempDir(), filepath.Base(unitFile))
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/platform", program(t))), 0o600))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, string(out))
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, file) {
			continue // about the units of this machine
		}
		// systemd before 254 does not know these.
		assert.Regexp(t, `Unknown key (name )?'(RestartSteps|RestartMaxDelaySec)'`, line)
	}
	out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=15", file).CombinedOutput()
	assert.NoError(t, err, string(out))
}
