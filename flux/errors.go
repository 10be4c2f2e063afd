package flux

import (
	"encoding/json"
	"errors"
)

// A HelpfulError has a cause and a help text for the end user: what happened and what to
// do about it.
type HelpfulError interface {
	error
	// Base returns the help text and the cause; it may be nil.
	Base() *BaseError
}

// BaseError is the common part of all helpful errors. A nil *BaseError, and one
// without a cause, are usable: their text is "no cause given".
type BaseError struct {
	// Help is for display. It may have several lines; the error's text does not
	// include it.
	Help string
	// Err is the cause.
	Err error
}

var (
	_ HelpfulError = (*BaseError)(nil)
	_ HelpfulError = UserConfigProblem{}
	_ HelpfulError = ServerException{}
	_ HelpfulError = Missing{}
)

// noCause is the text of a nil cause: an empty text could be taken for success.
const noCause = "no cause given"

// Error returns the cause's text.
func (e *BaseError) Error() string {
	if e == nil || e.Err == nil {
		return noCause
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *BaseError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Base returns e.
func (e *BaseError) Base() *BaseError { return e }

// jsonError is the JSON form of a BaseError.
type jsonError struct {
	Help  string `json:"help,omitempty"`
	Error string `json:"error,omitempty"`
}

// MarshalJSON writes {"help": …, "error": …}. The type of the cause is lost; its
// text is kept.
func (e *BaseError) MarshalJSON() ([]byte, error) {
	var wire jsonError
	if e != nil {
		wire.Help = e.Help
		if e.Err != nil {
			wire.Error = e.Err.Error()
		}
	}
	return json.Marshal(wire)
}

// UnmarshalJSON reads the output of MarshalJSON. A missing cause is left nil.
func (e *BaseError) UnmarshalJSON(data []byte) error {
	var wire jsonError
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*e = BaseError{Help: wire.Help}
	if wire.Error != "" {
		e.Err = errors.New(wire.Error)
	}
	return nil
}

// UserConfigProblem is an error that the user can fix, for instance by changing a
// configuration or by starting a daemon; a retry alone does not help.
type UserConfigProblem struct{ *BaseError }

// UnmarshalJSON reads a helpful error's JSON.
func (e *UserConfigProblem) UnmarshalJSON(data []byte) error { return decode(&e.BaseError, data) }

// ServerException is a fault of the service itself, possibly transient.
type ServerException struct{ *BaseError }

// UnmarshalJSON reads a helpful error's JSON.
func (e *ServerException) UnmarshalJSON(data []byte) error { return decode(&e.BaseError, data) }

// Missing reports that a named object does not exist.
type Missing struct{ *BaseError }

// UnmarshalJSON reads a helpful error's JSON.
func (e *Missing) UnmarshalJSON(data []byte) error { return decode(&e.BaseError, data) }

func decode(into **BaseError, data []byte) error {
	base := new(BaseError)
	if err := base.UnmarshalJSON(data); err != nil {
		return err
	}
	*into = base
	return nil
}

// UnderlyingError returns the first cause in the chain of err that is not itself a
// HelpfulError. If err is not helpful, or its cause is nil, it returns err.
func UnderlyingError(err error) error {
	for {
		helpful, ok := err.(HelpfulError)
		if !ok {
			return err
		}
		base := helpful.Base()
		if base == nil || base.Err == nil {
			return err
		}
		err = base.Err
	}
}
