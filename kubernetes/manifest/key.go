package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// A key is what an object is known by. The version is no part of it: the same object can
// be had in several.
type key struct {
	schema.GroupKind
	namespace, name string
}

func keyOf(u *unstructured.Unstructured) key {
	return key{u.GroupVersionKind().GroupKind(), u.GetNamespace(), u.GetName()}
}

// String returns the ID under which plans speak of the object: "default:deployment/web",
// "<cluster>:namespace/prod" for one in no namespace, and "default:database.example.com/main"
// for one that is not of Kubernetes' own kinds.
func (k key) String() string {
	namespace := k.namespace
	if namespace == "" {
		namespace = "<cluster>"
	}
	kind := strings.ToLower(k.Kind)
	if kinds.Lookup(k.GroupKind) == nil && k.Group != "" {
		kind += "." + k.Group
	}
	return namespace + ":" + kind + "/" + k.name
}

// compare puts what others need first: namespaces, definitions of kinds, then the rest by
// group, kind, namespace and name, and last what takes part in requests for others.
func (k key) compare(other key) int {
	if d := cmp.Compare(kinds.Of(k.GroupKind).Stage, kinds.Of(other.GroupKind).Stage); d != 0 {
		return d
	}
	for _, pair := range [][2]string{
		{k.Group, other.Group}, {k.Kind, other.Kind}, {k.namespace, other.namespace}, {k.name, other.name},
	} {
		if c := strings.Compare(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return 0
}

// check says what no API server would accept about the key. What it accepts can be shown
// on one line.
func (k key) check() error {
	if k.Kind == "" || k.name == "" {
		return errors.New("the kind or the name is missing")
	}
	if err := kinds.CheckKind(k.Kind); err != nil {
		return err
	}
	if err := kinds.CheckName(k.name); err != nil {
		return err
	}
	if err := kinds.CheckNamespace(k.namespace); err != nil {
		return err
	}
	for _, part := range []string{k.Group, k.name} {
		if strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
			return fmt.Errorf("%.100q cannot be in the name of an object", part)
		}
	}
	return nil
}

// scopes knows which kinds are in namespaces.
type scopes struct {
	namespace string // of what is in one and does not say which
	known     map[schema.GroupKind]bool
	// definitions has the CustomResourceDefinitions of kinds, those desired before those there.
	definitions map[schema.GroupKind]map[string]any
}

// newScopes learns from the definitions of kinds among the objects, and, of kinds that
// nothing defines, from how the cluster has them.
func newScopes(namespace string, current, desired []Object) scopes {
	s := scopes{namespace: namespace, known: map[schema.GroupKind]bool{}, definitions: map[schema.GroupKind]map[string]any{}}
	for _, objects := range [][]Object{current, desired} {
		for _, o := range objects {
			kind := o.GroupVersionKind().GroupKind()
			if kind != kinds.CustomResourceDefinition {
				continue
			}
			if defined, namespaced := kinds.DefinedKind(o.Object); defined.Kind != "" {
				s.definitions[defined] = o.Object
				if _, before := s.known[defined]; !before {
					s.known[defined] = namespaced
				}
			}
		}
	}
	for _, o := range current {
		kind := o.GroupVersionKind().GroupKind()
		if _, ok := s.known[kind]; !ok {
			s.known[kind] = o.GetNamespace() != ""
		}
	}
	return s
}

// keyFor returns the key of an object, with the namespace that it belongs to. An object of
// a kind about which nothing is known is taken to be in one: if it were not, the cluster
// would ignore the namespace.
func (s scopes) keyFor(u *unstructured.Unstructured) key {
	k := keyOf(u)
	namespaced := true
	if own := kinds.Lookup(k.GroupKind); own != nil {
		namespaced = own.Scope == kinds.Namespaced
	} else if known, ok := s.known[k.GroupKind]; ok {
		namespaced = known
	}
	switch {
	case !namespaced:
		k.namespace = ""
	case k.namespace == "":
		k.namespace = s.namespace
	}
	return k
}
