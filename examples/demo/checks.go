package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/platformbus/platform"
)

// checkRolloutError checks that the error of a rollout that cannot succeed names the service
// and the reason why its pods do not run.
func checkRolloutError(err error) error {
	var failed platform.ApplyError
	if !errors.As(err, &failed) || failed[frontend] == nil {
		return fmt.Errorf("apply of a missing image: want an ApplyError about %s, got: %w", frontend, orNone(err))
	}
	return checkContains(failed[frontend].Error(), missingImage, "ImagePull") // ErrImagePull or ImagePullBackOff
}

// checkVersion shows which daemon answers, and checks that it is the one wanted.
func (s *story) checkVersion(service platform.Platform, want string) error {
	version, err := service.Version()
	switch {
	case err != nil:
		return fmt.Errorf("version: %w", err)
	case version != want:
		return fmt.Errorf("version: got %q, want %q", version, want)
	}
	s.say("%q answers", version)
	return nil
}

// checkKicked shows why the daemon's subscription has ended. A kicked daemon does not
// subscribe again by itself: two that do would kick each other for ever.
func (s *story) checkKicked(first daemon) error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, watchLimit,
		fmt.Errorf("the first daemon was not kicked within %v after a second one subscribed", watchLimit))
	defer cancel()
	cause, err := first.kicked(ctx)
	if err != nil {
		return err
	}
	s.say("The first daemon receives: %s.", cause)
	return nil
}

var errNone = errors.New("no error")

// orNone returns err, or errNone if err is nil.
func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// checkContains returns an error unless text contains each of the parts.
func checkContains(text string, parts ...string) error {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Errorf("the text %q does not contain %q", text, part)
		}
	}
	return nil
}
