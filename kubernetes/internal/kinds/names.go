package kinds

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
)

// The functions below say what keeps a text from being a segment of a request's path. They
// are called where a text is read and once more where a path is made of it. An empty
// group or namespace is right: it stands for the core group, or for no namespace.

// CheckName checks the name of an object. What is odd but legal passes: upper case, colons,
// dots, any length.
func CheckName(name string) error { return segment("name", name) }

// CheckNamespace checks the name of a namespace.
func CheckNamespace(namespace string) error {
	if namespace == "" {
		return nil
	}
	return first("namespace", namespace, validation.ValidateNamespaceName(namespace, false))
}

// CheckGroupVersion checks the group and the version of a kind.
func CheckGroupVersion(gv schema.GroupVersion) error {
	if gv.Group != "" {
		if err := first("group", gv.Group, utilvalidation.IsDNS1123Subdomain(gv.Group)); err != nil {
			return err
		}
	}
	if gv.Version == "" {
		return errors.New("the version is empty")
	}
	return first("version", gv.Version, utilvalidation.IsDNS1123Label(gv.Version))
}

// CheckResource checks a resource: group, version and plural. A plural with a slash, which
// is how the API server names subresources, fails.
func CheckResource(r schema.GroupVersionResource) error {
	if err := CheckGroupVersion(r.GroupVersion()); err != nil {
		return err
	}
	return segment("resource", r.Resource)
}

func segment(what, text string) error {
	if text == "" {
		return fmt.Errorf("the %s is empty", what)
	}
	return first(what, text, content.IsPathSegmentName(text))
}

// first returns the first of what is wrong with a text as an error. The text is quoted, and
// cut if it is long.
func first(what, text string, wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("the %s %.100q is not one: %s", what, text, wrong[0])
}

// CheckKind checks the name of a kind by the rule for those that users define. It goes into
// no path, only into texts.
func CheckKind(kind string) error {
	if kind == "" {
		return errors.New("the kind is empty")
	}
	return first("kind", kind, utilvalidation.IsDNS1035Label(strings.ToLower(kind)))
}
