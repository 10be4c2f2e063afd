package flux_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/platformbus/platform/flux"
)

// A helpful error has a short text for the log, and a help text for a person. Both reach a
// client in JSON.
func ExampleHelpfulError() {
	err := fmt.Errorf("sync: %w", flux.UserConfigProblem{BaseError: &flux.BaseError{
		Help: "The file has no kind. Add one and try again.",
		Err:  errors.New("web.yaml: no kind"),
	}})
	fmt.Println(err)

	var helpful flux.HelpfulError
	if errors.As(err, &helpful) {
		fmt.Println(helpful.Base().Help)
		text, err := json.Marshal(helpful.Base())
		fmt.Println(string(text), err)
	}
	// Output:
	// sync: web.yaml: no kind
	// The file has no kind. Add one and try again.
	// {"help":"The file has no kind. Add one and try again.","error":"web.yaml: no kind"} <nil>
}

// A service ID names a service by its namespace and name.
func ExampleParseServiceID() {
	id, err := flux.ParseServiceID("shop/web")
	if err != nil {
		panic(err)
	}
	namespace, name := id.Components()
	fmt.Println(namespace, name, id == flux.MakeServiceID("shop", "web"))

	_, err = flux.ParseServiceID("web")
	fmt.Println(err)
	// Output:
	// shop web true
	// service ID "web": want namespace/name
}
