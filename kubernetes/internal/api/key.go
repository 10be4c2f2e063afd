package api

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A Key identifies an object in the cluster, at whatever version.
type Key struct {
	schema.GroupKind
	Namespace, Name string
}

// ShownName returns the object's name as it can be shown.
func (k Key) ShownName() string {
	name := redact.Name(k.Name)
	if most := 300; len(name) > most { // no API server has it
		name = name[:most] + "…"
	}
	return name
}

// String names the object for an error, as in "Deployment default/web".
func (k Key) String() string {
	name := k.ShownName()
	if k.Namespace == "" {
		return k.Kind + " " + name
	}
	return k.Kind + " " + k.Namespace + "/" + name
}
