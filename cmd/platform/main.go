// Command platform drives clusters: as a daemon that offers one, as a service that offers many
// over HTTP, and for people and scripts that use them.
//
//	platform daemon --instance my-cluster --nats nats://127.0.0.1:4222
//	platform service --embedded-nats --instance my-cluster
//	platform --help
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/platformbus/platform/cmd/internal/client"
	"github.com/platformbus/platform/cmd/internal/daemon"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/cmd/internal/service"
)

func main() { os.Exit(program.Main(root())) }

const long = `Drive clusters through daemons that offer them.

Each flag can be set by an environment variable too: --nats-creds by PLATFORM_NATS_CREDS. A
file that --config or PLATFORM_CONFIG names has them as YAML: nats-creds: /etc/daemon.creds.
A flag counts before the environment, and the environment before the file. Secrets are in
files or in the environment, never in an argument.

` + program.ExitCodes

// root returns the command with all its commands.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "platform",
		Short:   "Drive clusters through daemons that offer them",
		Long:    long,
		Version: program.Version(),
	}
	program.AddSettings(cmd)
	cmd.AddCommand(daemon.Command(), service.Command())
	cmd.AddCommand(client.Commands()...)
	return cmd
}
