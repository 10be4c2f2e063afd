package client

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/internal/oneline"
)

// completeLimit bounds what a shell waits for when somebody presses Tab.
const completeLimit = 2 * time.Second

// complete returns a function that lets a shell offer what list returns, apart from the arguments
// that are there. It offers nothing if list fails: a shell has no place for an error.
func (c *config) complete(list func(ctx context.Context, t *target, args []string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if err := program.LoadSettings(cmd); err != nil { // cobra does it for a command that it runs
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), min(completeLimit, c.timeout))
		defer cancel()
		t, err := c.open(slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, directive
		}
		defer t.close()
		values, err := list(ctx, t, args)
		if err != nil {
			return nil, directive
		}
		return slices.DeleteFunc(values, func(value string) bool {
			return slices.Contains(args, value) || strings.ContainsAny(value, " \t") || oneline.Line(value) != value
		}), directive
	}
}

// instanceNames lists the instances of a service's list. A bus keeps no list.
func instanceNames(ctx context.Context, t *target, _ []string) (names []string, err error) {
	if t.http == nil {
		return nil, nil
	}
	found, err := t.http.instances(ctx)
	for _, one := range found {
		names = append(names, string(one.Instance))
	}
	return names, err
}

// serviceNames lists the services of the instance.
func (c *config) serviceNames(ctx context.Context, t *target, _ []string) (names []string, err error) {
	p, err := c.platform(ctx, t)
	if err != nil {
		return nil, err
	}
	found, err := p.AllServices("", nil)
	for _, one := range found {
		names = append(names, string(one.ID))
	}
	return names, err
}

// containerNames lists the containers of the service that is the first argument, each with an = as
// set-image wants it.
func (c *config) containerNames(ctx context.Context, t *target, args []string) (names []string, err error) {
	p, err := c.platform(ctx, t)
	if err != nil {
		return nil, err
	}
	ids, err := parseServiceIDs(args[:1])
	if err != nil {
		return nil, err
	}
	found, err := p.SomeServices(ids)
	for _, s := range found {
		for _, container := range s.ContainersOrNil() {
			given := func(arg string) bool { return strings.HasPrefix(arg, container.Name+"=") }
			if !slices.ContainsFunc(args, given) {
				names = append(names, container.Name+"=")
			}
		}
	}
	return names, err
}

// completeSetImage completes a service, and then its containers.
func (c *config) completeSetImage(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return c.complete(c.serviceNames)(cmd, args, typed)
	}
	names, directive := c.complete(c.containerNames)(cmd, args, typed)
	return names, directive | cobra.ShellCompDirectiveNoSpace // the image follows
}

// completeDir lets a shell offer folders for the one argument.
func completeDir(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeFlag sets what completes the value of a flag of the command, which has the flag.
func completeFlag(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // the command has no such flag, or this is the second call
	}
}
