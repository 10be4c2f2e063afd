package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

const (
	watchLimit = 3 * time.Minute
	watchTick  = 50 * time.Millisecond
)

// watch polls the services, shows those that have changed, and returns when wanted holds.
func (s *story) watch(service platform.Platform, wanted func([]platform.Service) bool) error {
	return s.poll(service, wanted, func(services []platform.Service) {
		for _, one := range services {
			if line := describe(one); line != s.shown[one.ID] {
				s.shown[one.ID] = line
				s.say("%-24s %s", one.ID, line)
			}
		}
	})
}

// poll polls the services, passes them to see, and returns when wanted holds.
func (s *story) poll(service platform.Platform, wanted func([]platform.Service) bool, see func([]platform.Service)) error {
	begun := time.Now()
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		services, err := service.AllServices(namespace, nil)
		if err != nil {
			return fmt.Errorf("list the services: %w", err)
		}
		slices.SortFunc(services, func(a, b platform.Service) int { return strings.Compare(string(a.ID), string(b.ID)) })
		see(services)
		if wanted(services) {
			return nil
		}
		if time.Since(begun) > watchLimit {
			return fmt.Errorf("after %v the services are still not as they should be: %v", watchLimit, services)
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// rollOut applies definitions, and watches the services meanwhile. It returns the error of
// Apply.
func (s *story) rollOut(service platform.Platform, defs []platform.ServiceDefinition) error {
	applied := make(chan struct{})
	var result error // of Apply; read it after applied is closed
	go func() {
		defer close(applied)
		result = service.Apply(defs)
	}()
	err := s.watch(service, func([]platform.Service) bool {
		select {
		case <-applied:
			return true
		default:
			return false
		}
	})
	<-applied // Apply has a time limit, and obeys the context
	if result == nil {
		return err
	}
	return result
}

// describe describes a service on one line.
func describe(s platform.Service) string {
	containers, err := s.ContainersOrError()
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	images := make([]string, 0, len(containers))
	for _, c := range containers {
		images = append(images, c.Image)
	}
	return fmt.Sprintf("%-20s %s", strings.Join(images, ", "), s.Status)
}

// allReady reports whether all services that have pods are ready.
func allReady(services []platform.Service) bool {
	for _, s := range services {
		if len(s.ContainersOrNil()) > 0 && s.Status != "ready" {
			return false
		}
	}
	return len(services) > 0
}

// runs returns a condition: all services are ready, and the service has the image.
func runs(id flux.ServiceID, image string) func([]platform.Service) bool {
	return func(services []platform.Service) bool { return allReady(services) && hasImage(id, image)(services) }
}

// hasImage returns a condition: the service has the image.
func hasImage(id flux.ServiceID, image string) func([]platform.Service) bool {
	return func(services []platform.Service) bool {
		return slices.ContainsFunc(services, func(s platform.Service) bool {
			return s.ID == id && slices.ContainsFunc(s.ContainersOrNil(), func(c platform.Container) bool { return c.Image == image })
		})
	}
}

// isStalled returns a condition: the rollout of the service has failed.
func isStalled(id flux.ServiceID) func([]platform.Service) bool {
	return func(services []platform.Service) bool {
		return slices.ContainsFunc(services, func(s platform.Service) bool {
			return s.ID == id && strings.HasPrefix(s.Status, "stalled: ")
		})
	}
}
