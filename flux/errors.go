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

	matches error // what errors.Is finds beside the cause, or nil
}

// Matching returns a copy of e that errors.Is also finds equal to target. So a plain
// UserConfigProblem can report what kind of problem it is, whatever its cause, and a type
// switch on UserConfigProblem still finds it.
func (e BaseError) Matching(target error) *BaseError {
	e.matches = target
	return &e
}

// Is reports whether target is the error that e was made to match. It does not look at the
// cause.
func (e *BaseError) Is(target error) bool {
	return e != nil && e.matches != nil && errors.Is(e.matches, target) // == panics for two maps
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

// jsonError is the JSON form of a BaseError. Clients may rely on both fields.
type jsonError struct {
	Help  string `json:"help"`
	Error string `json:"error"`
}

// MarshalJSON writes {"help": …, "error": …}, both also if they are empty. The type of the
// cause is lost; its text is kept. Values and pointers have the same form.
func (e BaseError) MarshalJSON() ([]byte, error) {
	wire := jsonError{Help: e.Help}
	if e.Err != nil {
		wire.Error = e.Err.Error()
	}
	return json.Marshal(wire)
}

// encode returns the JSON of a helpful error whose BaseError may be missing.
func encode(e *BaseError) ([]byte, error) {
	if e == nil {
		e = &BaseError{}
	}
	return e.MarshalJSON()
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

// MarshalJSON writes the form of BaseError.
func (e UserConfigProblem) MarshalJSON() ([]byte, error) { return encode(e.BaseError) }

// UnmarshalJSON reads the form of BaseError.
func (e *UserConfigProblem) UnmarshalJSON(data []byte) error { return decode(&e.BaseError, data) }

// ServerException is a fault of the service itself, possibly transient.
type ServerException struct{ *BaseError }

// MarshalJSON writes the form of BaseError.
func (e ServerException) MarshalJSON() ([]byte, error) { return encode(e.BaseError) }

// UnmarshalJSON reads the form of BaseError.
func (e *ServerException) UnmarshalJSON(data []byte) error { return decode(&e.BaseError, data) }

// Missing reports that a named object does not exist.
type Missing struct{ *BaseError }

// MarshalJSON writes the form of BaseError.
func (e Missing) MarshalJSON() ([]byte, error) { return encode(e.BaseError) }

// UnmarshalJSON reads the form of BaseError.
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
