package client

import "github.com/spf13/cobra"

// Commands returns the commands.
func Commands() []*cobra.Command {
	return []*cobra.Command{getCommand(), planCommand(), syncCommand(), exportCommand(), setImageCommand(), pingCommand()}
}
