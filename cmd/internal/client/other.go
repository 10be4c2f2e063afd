package client

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformbus/platform/internal/oneline"
)

func exportCommand() *cobra.Command {
	c := new(config)
	cmd := c.newCommand(&cobra.Command{
		Use:   "export",
		Short: "Write all that an instance has, as YAML",
		Long: `Write all that an instance has, as YAML that sync can apply: without what others own or the system
makes, and without Secrets unless the daemon has --export-secrets. If something is missing, what
there is is written, and the error says what is missing.`,
		Example: "  platform export --instance production >production.yaml",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, t *target, _ []string) error {
		p, err := c.platform(ctx, t)
		if err != nil {
			return err
		}
		done := waiting(t.err, "exporting the cluster")
		manifests, err := p.Export()
		done()
		if err1 := writeText(t.out, string(manifests)); err1 != nil {
			return fmt.Errorf("write the export: %w", err1)
		}
		return err
	})
	c.addInstance(cmd)
	return cmd
}

func pingCommand() *cobra.Command {
	c := new(config)
	cmd := c.newCommand(&cobra.Command{
		Use:     "ping",
		Short:   "Check that an instance's daemon and its cluster answer",
		Example: "  platform ping --instance production",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, t *target, _ []string) error {
		p, err := c.platform(ctx, t)
		if err != nil {
			return err
		}
		version, err := p.Version()
		if err != nil {
			return err
		}
		start := time.Now()
		if err := p.Ping(); err != nil {
			return err
		}
		took := time.Since(start)
		result := map[string]any{"instance": c.instance, "version": version, "seconds": took.Seconds()}
		return c.output.write(t.out, result, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s answers in %v; daemon %s\n", c.instance, took.Round(10*time.Microsecond), oneline.Line(version))
			return err
		})
	})
	c.addInstance(cmd)
	c.output.addFlag(cmd)
	return cmd
}
