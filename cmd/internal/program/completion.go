package program

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addCompletion adds cobra's command that writes completion scripts. Without a shell that it knows
// the command would show its help as if that had been asked for.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.RunE = func(*cobra.Command, []string) error {
				return Usage("want the name of a shell: bash, zsh, fish or powershell")
			}
		}
	}
}

// prepareCompletion lets the shell offer files only for the flags that take one, and takes the
// quotes that mark the name of a value out of the flags' descriptions, which cobra shows as they are.
func prepareCompletion(cmd *cobra.Command) {
	cmd.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if value, _ := pflag.UnquoteUsage(f); value == "file" {
			cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)) //nolint:errcheck // it has a function already, then
		}
		f.Usage = strings.ReplaceAll(f.Usage, "`", "")
	})
	for _, below := range cmd.Commands() {
		prepareCompletion(below)
	}
}
