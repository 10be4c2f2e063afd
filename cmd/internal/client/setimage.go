package client

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/manifest"
)

func setImageCommand() *cobra.Command {
	c := new(config)
	var async bool
	cmd := c.newCommand(&cobra.Command{
		Use:   "set-image NAMESPACE/NAME CONTAINER=IMAGE ...",
		Short: "Set images of a service's containers, and wait for the rollout",
		Long: `Set images of a service's containers, and wait for the rollout. The definition is that of the
service's controller in an export, which reads the whole cluster. Definitions that are in a
folder are better changed there: the next sync of the folder sets the old image again.`,
		Example:           "  platform set-image shop/web web=registry.example/web:2 --instance production",
		Args:              wantArgs(cobra.MinimumNArgs(2), "NAMESPACE/NAME CONTAINER=IMAGE ..."),
		ValidArgsFunction: c.completeSetImage,
	}, func(ctx context.Context, t *target, args []string) error {
		id, err := flux.ParseServiceID(args[0])
		if err != nil {
			return program.Usage("%w", err)
		}
		images, err := parseImages(args[1:])
		if err != nil {
			return err
		}
		p, err := c.platform(ctx, t)
		if err != nil {
			return err
		}
		done := waiting(t.err, "exporting the cluster")
		export, err := p.Export()
		done()
		if len(export) == 0 && err != nil {
			return fmt.Errorf("export the cluster: %w", err)
		}
		definition, err1 := manifest.ControllerOf(export, id) // an incomplete export may have it
		switch {
		case err1 != nil && err != nil:
			return fmt.Errorf("%w; the export is not complete: %w", err1, err)
		case err1 != nil:
			return err1
		}
		if definition, err = manifest.SetImages(definition, images); err != nil {
			return fmt.Errorf("service %s: %w", id, err)
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause // nothing was asked for
		}
		done = waiting(t.err, fmt.Sprintf("rolling out %s", id))
		err = p.Apply([]platform.ServiceDefinition{{ServiceID: id, NewDefinition: definition, Async: async}})
		done()
		if cause := context.Cause(ctx); err != nil && cause != nil { // err says it too, as the service's error
			return fmt.Errorf("%w: the rollout goes on; see platform get services", cause)
		}
		if err != nil {
			return err
		}
		return c.output.write(t.out, map[string]any{"service": id, "images": images}, func(w io.Writer) error {
			state := "is rolled out"
			if async {
				state = "is being rolled out"
			}
			_, err := fmt.Fprintf(w, "%s %s\n", id, state)
			return err
		})
	})
	c.addInstance(cmd)
	c.output.addFlag(cmd)
	cmd.Flags().BoolVar(&async, "async", false, "do not wait for the rollout")
	return cmd
}

// parseImages reads arguments such as web=registry.example/web:2.
func parseImages(args []string) (map[string]string, error) {
	images := make(map[string]string, len(args))
	for _, arg := range args {
		container, image, ok := strings.Cut(arg, "=")
		switch {
		case !ok || container == "" || image == "":
			return nil, program.Usage("%.100q: want container=image", arg)
		case images[container] != "":
			return nil, program.Usage("the container %.100q has two images", container)
		}
		images[container] = image
	}
	return images, nil
}
