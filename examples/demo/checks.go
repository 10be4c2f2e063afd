package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/platformbus/platform"
)

// mustSayWhy checks what a person needs of the error of a rollout that cannot succeed: of
// which service it is, and why its pods do not run.
func mustSayWhy(err error) error {
	var failed platform.ApplyError
	if !errors.As(err, &failed) || failed[frontend] == nil {
		return fmt.Errorf("apply of a missing image: want an ApplyError about %s, got: %w", frontend, orNone(err))
	}
	return contains(failed[frontend].Error(), missingImage, "ImagePull") // ErrImagePull or ImagePullBackOff
}

// version shows which daemon answers, and checks that it is the one wanted.
func (s *story) version(service platform.Platform, want string) error {
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

// mustBeKicked shows why the daemon's subscription has ended. A daemon that is told so
// does not come back by itself: two that do would kick each other for ever.
func (s *story) mustBeKicked(first daemon) error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, watchLimit,
		fmt.Errorf("the first daemon was not told within %v that a second one took its place", watchLimit))
	defer cancel()
	cause, err := first.kicked(ctx)
	if err != nil {
		return err
	}
	s.say("The first daemon is told: %s.", cause)
	return nil
}

var errNone = errors.New("no error")

// orNone stands in for an error that did not come.
func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// contains returns an error unless text has each of the parts.
func contains(text string, parts ...string) error {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Errorf("the text %q does not have %q in it", text, part)
		}
	}
	return nil
}
