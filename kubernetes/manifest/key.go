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
	return cmp.Or(
		cmp.Compare(kinds.Of(k.GroupKind).Stage, kinds.Of(other.GroupKind).Stage),
		strings.Compare(k.Group, other.Group), strings.Compare(k.Kind, other.Kind),
		strings.Compare(k.namespace, other.namespace), strings.Compare(k.name, other.name),
	)
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
	// definitions has the CustomResourceDefinitions of kinds, those desired before those there,
	// of which it has what says where nulls are values.
	definitions map[schema.GroupKind]map[string]any
	// seen has the kinds that nothing has defined yet, and whether the first object is in one.
	seen map[schema.GroupKind]bool
}

func newScopes(namespace string) scopes {
	return scopes{namespace, map[schema.GroupKind]bool{}, map[schema.GroupKind]map[string]any{}, map[schema.GroupKind]bool{}}
}

// learn learns from an object of the cluster which kind it defines, and, of a kind that
// nothing defines, how the cluster has it.
func (s scopes) learn(kind schema.GroupKind, u *unstructured.Unstructured) {
	if _, ok := s.seen[kind]; !ok {
		s.seen[kind] = u.GetNamespace() != ""
	}
	if kind == kinds.CustomResourceDefinition {
		s.define(kinds.WithNulls(u.Object))
	}
}

// finish learns from what is desired, after all that is there.
func (s scopes) finish(desired []Object) {
	for _, o := range desired {
		if o.GroupVersionKind().GroupKind() == kinds.CustomResourceDefinition {
			s.define(o.Object)
		}
	}
	for kind, namespaced := range s.seen {
		if _, ok := s.known[kind]; !ok {
			s.known[kind] = namespaced
		}
	}
}

// define learns from the definition of a kind.
func (s scopes) define(crd map[string]any) {
	if defined, namespaced := kinds.DefinedKind(crd); defined.Kind != "" {
		s.definitions[defined] = crd
		if _, before := s.known[defined]; !before {
			s.known[defined] = namespaced
		}
	}
}

// keyFor returns the key of an object, with the namespace that it belongs to. An object of
// a kind about which nothing is known is taken to be in one: if it were not, the cluster
// would ignore the namespace.
func (s scopes) keyFor(k key) key {
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
