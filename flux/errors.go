package flux

import (
	"encoding/json"
	"errors"
)

// A HelpfulError carries, beside its cause, a text for the person who meets it:
// what happened and what to do about it.
type HelpfulError interface {
	error
	// Base returns the help text and the cause; it may be nil.
	Base() *BaseError
}

// BaseError is the common part of all helpful errors. A nil *BaseError, and one
// without a cause, are usable: they say that no cause was given.
type BaseError struct {
	// Help is for display. It may run over several lines; the error's text does not
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

// noCause stands in for a cause that is nil: an empty text could be taken for success.
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

// jsonError is a BaseError on the wire.
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

// UnmarshalJSON reads what MarshalJSON wrote. A missing cause is left nil.
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

// UserConfigProblem is an error that the user can mend, for instance by changing
// a configuration or by starting a daemon; trying again alone will not help.
type UserConfigProblem struct{ *BaseError }

// UnmarshalJSON reads a helpful error's JSON.
func (e *UserConfigProblem) UnmarshalJSON(data []byte) error { return decode(&e.BaseError, data) }

// ServerException is a fault of the service itself, perhaps passing.
type ServerException struct{ *BaseError }

// UnmarshalJSON reads a helpful error's JSON.
func (e *ServerException) UnmarshalJSON(data []byte) error { return decode(&e.BaseError, data) }

// Missing says that something asked for by name does not exist.
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

// UnderlyingError returns what is left of err when the helpful errors around it are
// taken off: the first cause that is not itself helpful. An err that is not
// helpful, or whose cause is nil, comes back as it is.
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
