package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// checkUnavailable checks that calls fail because no daemon of the instance is connected.
func (s *story) checkUnavailable(service platform.Platform, inst flux.InstanceID) error {
	err := service.Ping()
	if !errors.Is(err, platform.ErrPlatformNotAvailable) {
		return fmt.Errorf("ping without a daemon: want an UnavailableError, got: %w", orNone(err))
	}
	if err := checkContains(err.Error(), string(inst)); err != nil {
		return err
	}
	s.failure(err)
	return s.setup.showUnavailable()
}

var errCancelled = errors.New("the user pressed Cancel")

// cancelRollout applies definitions, cancels the call while it waits for the rollout of the
// API, and checks that the daemon does not wait any longer either.
func (s *story) cancelRollout(service platform.Platform, defs []platform.ServiceDefinition) error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	result := make(chan error, 1)
	go func() { result <- platform.WithContext(ctx, service).Apply(defs) }()
	watched := s.watch(service, hasImage(api, missingAPI))
	cancel(errCancelled)
	began := time.Now()
	err := <-result // obeys ctx
	if watched != nil {
		return watched
	}
	if !errors.Is(err, errCancelled) {
		return fmt.Errorf("apply, cancelled: want an error with the cause, got: %w", orNone(err))
	}
	s.failure(err)
	s.say("The call returned %s after that.", round(time.Since(began)))

	const ended = `flux_platform_request_duration_seconds{method="Apply",success="false"}`
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		m, err := s.setup.metrics()
		switch {
		case err != nil:
			return err
		case m[ended].count == 2: // this one, and that of the image that does not exist
			s.say("The daemon has ended its work on it too, as its metrics say.")
			return nil
		case time.Since(began) > watchLimit:
			return errors.New("the daemon still works on a call that was cancelled")
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// replaceKilled kills the daemon of east, checks that west is not affected, and offers east
// again.
func (s *story) replaceKilled(ofEast, ofWest platform.Platform, d daemon) error {
	switch err := d.kill(); {
	case errors.Is(err, errors.ErrUnsupported):
		s.say("A daemon within this process cannot be killed: make demo shows that.")
		return nil
	case err != nil:
		return fmt.Errorf("kill the daemon: %w", err)
	}
	began := time.Now()
	if err := s.checkUnavailable(ofEast, east); err != nil {
		return err
	}
	s.say("The service knows that %s after the kill. West is not affected:", round(time.Since(began)))
	if err := s.checkVersion(ofWest, "daemon 1 of west"); err != nil {
		return err
	}
	if _, err := s.setup.offer(s.ctx, east, "daemon 3 of east"); err != nil {
		return err
	}
	return s.checkVersion(ofEast, "daemon 3 of east")
}
