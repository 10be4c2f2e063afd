package client

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

func getCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "get", Short: "List instances or services", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		return program.Usage("want get instances or get services")
	}}
	cmd.AddCommand(getInstancesCommand(), getServicesCommand())
	return cmd
}

func getInstancesCommand() *cobra.Command {
	c := new(config)
	cmd := c.newCommand(&cobra.Command{
		Use:   "instances [ID ...]",
		Short: "List instances: those of the service's list, or those named",
		Long:  "List instances: those of the service's list, or those named. Over NATS they have to be named,\nsince a bus keeps no list.",
		Example: `  platform get instances --server http://127.0.0.1:8080
  platform get instances --nats nats://127.0.0.1:4222 production staging`,
		ValidArgsFunction: c.complete(instanceNames),
	}, func(ctx context.Context, t *target, args []string) error {
		found, err := t.instances(ctx, args)
		if err != nil {
			return err
		}
		return c.output.write(t.out, map[string]any{"instances": found}, func(w io.Writer) error {
			rows := make([][]string, len(found))
			for i, one := range found {
				state := "connected"
				if !one.Connected {
					state = "not connected"
				} else if one.Error != "" {
					state = "unwell"
				}
				rows[i] = []string{string(one.Instance), state, one.Version, one.Error}
			}
			return writeTable(w, []string{"INSTANCE", "STATE", "VERSION", "ERROR"}, rows)
		})
	})
	c.output.addFlag(cmd)
	return cmd
}

func (t *target) instances(ctx context.Context, args []string) ([]jsonform.Instance, error) {
	var ids []flux.InstanceID
	for _, arg := range args {
		id, err := program.InstanceID(arg)
		if err != nil {
			return nil, program.Usage("%w", err)
		}
		ids = append(ids, id)
	}
	switch {
	case len(ids) == 0 && t.http != nil:
		return t.http.instances(ctx)
	case len(ids) == 0:
		return nil, program.Usage("over NATS the instances have to be named")
	}
	found := make([]jsonform.Instance, len(ids))
	var asking sync.WaitGroup
	for i, id := range ids {
		asking.Go(func() { found[i] = t.status(ctx, id) })
	}
	asking.Wait()
	return found, context.Cause(ctx) // they were not asked, then
}

// status calls Version, which the daemon answers, and Ping, which the cluster answers.
func (t *target) status(ctx context.Context, id flux.InstanceID) jsonform.Instance {
	s := jsonform.Instance{Instance: id}
	p, err := t.connect(ctx, id)
	if err == nil {
		s.Version, err = p.Version()
		if s.Connected = err == nil; s.Connected {
			err = p.Ping()
		}
	}
	if err != nil {
		s.Error, s.Help = oneline.Line(err.Error()), program.HelpOf(err)
	}
	return s
}

func getServicesCommand() *cobra.Command {
	c := new(config)
	var namespace string
	cmd := c.newCommand(&cobra.Command{
		Use:   "services [NAMESPACE/NAME ...]",
		Short: "List the services of an instance, with their state and images",
		Example: `  platform get services --server http://127.0.0.1:8080 --instance production
  platform get services --nats nats://127.0.0.1:4222 --instance production shop/web`,
		ValidArgsFunction: c.complete(c.serviceNames),
	}, func(ctx context.Context, t *target, args []string) error {
		ids, err := parseServiceIDs(args)
		if err != nil {
			return err
		}
		if len(ids) > 0 && namespace != "" {
			return program.Usage("--namespace and names of services are both given: want one of them")
		}
		p, err := c.platform(ctx, t)
		if err != nil {
			return err
		}
		var found []platform.Service
		if len(ids) > 0 {
			found, err = p.SomeServices(ids)
		} else {
			found, err = p.AllServices(namespace, nil)
		}
		if err == nil {
			err = missing(ids, found)
		}
		if err != nil && len(found) == 0 {
			return err
		}
		if err1 := c.output.write(t.out, map[string]any{"services": jsonform.Services(found)}, func(w io.Writer) error {
			return writeServices(w, found)
		}); err1 != nil {
			return err1
		}
		return err // says what the list lacks
	})
	c.addInstance(cmd)
	c.output.addFlag(cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "`namespace` whose services are listed (default all)")
	return cmd
}

// missing returns an error that names the services that were not found, if any.
func missing(ids []flux.ServiceID, found []platform.Service) error {
	var names []string
	for _, id := range ids {
		if !slices.ContainsFunc(found, func(s platform.Service) bool { return s.ID == id }) {
			names = append(names, string(id))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("no such service: %s", strings.Join(names, ", "))
}

// writeServices writes a table. What may be long, such as why a rollout is stalled, is in its last
// column, so that it widens no other line.
func writeServices(w io.Writer, found []platform.Service) error {
	rows := make([][]string, len(found))
	for i, s := range found {
		var images []string
		for _, c := range s.ContainersOrNil() {
			images = append(images, c.Name+"="+c.Image)
		}
		status, detail := s.Status, ""
		if i := strings.IndexAny(status, ":("); i > 0 { // stalled: …, or updating (…)
			status, detail = strings.TrimSpace(status[:i]), strings.TrimLeft(status[i:], ": ")
		}
		if excuse := s.Containers.Excuse; excuse != "" {
			detail = strings.TrimPrefix(detail+"; "+excuse, "; ")
		}
		rows[i] = []string{string(s.ID), status, strings.Join(images, " "), detail}
	}
	return writeTable(w, []string{"SERVICE", "STATUS", "IMAGES", "DETAIL"}, rows)
}
