package kinds

import (
	"slices"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Fields are the managed fields of an object, as they are in it. They tell which fields
// somebody chose: those that some manager other than Kubernetes' own programs set.
type Fields struct {
	entries []any
	all     bool // somebody chose all
}

// systemManagers are the field managers of Kubernetes' own programs.
var systemManagers = map[string]bool{
	"api-priority-and-fairness-config-producer-v1": true,
	"cloud-controller-manager":                     true,
	"clusterrole-aggregation-controller":           true,
	"kube-apiserver":                               true,
	"kube-controller-manager":                      true,
	"kube-proxy":                                   true,
	"kube-scheduler":                               true,
	"kubelet":                                      true,
	"k3s":                                          true, // all of them in one
	"kubelite":                                     true, // likewise
}

// has says whether somebody chose the field at path. It looks no further than that: to
// read all managed fields of an object takes longer than to write the object.
func (c Fields) has(path ...any) bool {
	return c.hasIn(func(any) bool { return true }, path...)
}

// hasIn does the same for the entries that accept accepts.
func (c Fields) hasIn(accept func(entry any) bool, path ...any) bool {
	if c.all {
		return true
	}
	elements, err := fieldpath.MakePath(path...)
	if err != nil {
		return false
	}
	keys := make([]string, len(elements))
	for i, element := range elements {
		if keys[i], err = fieldpath.SerializePathElement(element); err != nil {
			return false
		}
	}
	return slices.ContainsFunc(c.entries, func(entry any) bool {
		manager, _ := Nested(entry, "manager").(string)
		subresource, _ := Nested(entry, "subresource").(string)
		return subresource == "" && !systemManagers[manager] && accept(entry) &&
			Nested(entry, append([]string{"fieldsV1"}, keys...)...) != nil
	})
}
