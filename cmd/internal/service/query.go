package service

import (
	"fmt"
	"net/url"
	"strconv"
)

// parameterError says what is wrong with a parameter. It is a badRequest.
func parameterError(name, value, want string) error {
	return badRequest{fmt.Errorf("parameter %s=%.100q: want %s", name, value, want)}
}

// boolean returns a parameter, or false if it is missing.
func boolean(query url.Values, name string) (bool, error) {
	switch text := query.Get(name); {
	case text == "true":
		return true, nil
	case text == "false", !query.Has(name):
		return false, nil
	default:
		return false, parameterError(name, text, "true or false")
	}
}

// number returns a parameter that is between least and most, or 0 if it is missing.
func number(query url.Values, name string, least, most int) (int, error) {
	if !query.Has(name) {
		return 0, nil
	}
	text := query.Get(name)
	value, err := strconv.Atoi(text)
	if err != nil || value < least || value > most {
		return 0, parameterError(name, text, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return value, nil
}
