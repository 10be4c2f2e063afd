package kinds

import (
	"maps"
	"reflect"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// A union is a struct of which some fields forbid others.
type union struct {
	// members are fields of which there may be one. If a definition has none, the server may
	// choose one.
	members []string
	// allowed has the fields that another field allows, the discriminator, by the values of
	// it that do.
	discriminator, otherwise string // and what it is taken for if it is not set
	allowed                  map[string][]string
}

var unions = map[reflect.Type][]union{
	reflect.TypeFor[corev1.Volume]():                    {{members: fieldNames[corev1.VolumeSource]()}},
	reflect.TypeFor[corev1.PersistentVolumeSpec]():      {{members: fieldNames[corev1.PersistentVolumeSource]()}},
	reflect.TypeFor[corev1.Probe]():                     {{members: fieldNames[corev1.ProbeHandler]()}},
	reflect.TypeFor[corev1.LifecycleHandler]():          {{members: fieldNames[corev1.LifecycleHandler]()}},
	reflect.TypeFor[corev1.EnvVarSource]():              {{members: fieldNames[corev1.EnvVarSource]()}},
	reflect.TypeFor[corev1.EnvVar]():                    {{members: []string{"value", "valueFrom"}}},
	reflect.TypeFor[admissionv1.WebhookClientConfig]():  {{members: []string{"url", "service"}}},
	reflect.TypeFor[appsv1.DeploymentStrategy]():        {{discriminator: "type", otherwise: "RollingUpdate", allowed: map[string][]string{"rollingUpdate": {"RollingUpdate"}}}},
	reflect.TypeFor[appsv1.StatefulSetUpdateStrategy](): {{discriminator: "type", otherwise: "RollingUpdate", allowed: map[string][]string{"rollingUpdate": {"RollingUpdate"}}}},
	reflect.TypeFor[appsv1.DaemonSetUpdateStrategy]():   {{discriminator: "type", otherwise: "RollingUpdate", allowed: map[string][]string{"rollingUpdate": {"RollingUpdate"}}}},
	reflect.TypeFor[definitionConversion]():             {{discriminator: "strategy", otherwise: "None", allowed: map[string][]string{"webhook": {"Webhook"}}}},
	reflect.TypeFor[corev1.ServiceSpec](): {
		{discriminator: "sessionAffinity", otherwise: "None", allowed: map[string][]string{"sessionAffinityConfig": {"ClientIP"}}},
		{discriminator: "type", otherwise: "ClusterIP", allowed: map[string][]string{
			"healthCheckNodePort":           {"LoadBalancer"},
			"allocateLoadBalancerNodePorts": {"LoadBalancer"},
			"loadBalancerClass":             {"LoadBalancer"},
			"externalTrafficPolicy":         {"LoadBalancer", "NodePort"},
			"externalName":                  {"ExternalName"},
			"clusterIP":                     {"ClusterIP", "LoadBalancer", "NodePort"},
			"clusterIPs":                    {"ClusterIP", "LoadBalancer", "NodePort"},
			"ipFamilies":                    {"ClusterIP", "LoadBalancer", "NodePort"},
			"ipFamilyPolicy":                {"ClusterIP", "LoadBalancer", "NodePort"},
			"internalTrafficPolicy":         {"ClusterIP", "LoadBalancer", "NodePort"},
		}},
	},
}

func fieldNames[T any]() []string {
	fields := map[string]Field{}
	addFields(reflect.TypeFor[T](), fields)
	return slices.Sorted(maps.Keys(fields))
}

// forbidden returns the fields that a definition of the struct forbids, other than by leaving
// them out.
func (u union) forbidden(defined map[string]any) []string {
	var names []string
	if u.discriminator == "" {
		for _, name := range u.members {
			if defined[name] == nil {
				names = append(names, name)
			}
		}
		return names
	}
	value := text(defined, u.discriminator)
	if value == "" {
		value = u.otherwise
	}
	for name, by := range u.allowed {
		if !slices.Contains(by, value) && defined[name] == nil {
			names = append(names, name)
		}
	}
	return names
}

// Forbidden returns what a live object has of that a definition forbids, without setting it:
// remains, mostly defaults, of what an earlier definition said. The paths are as managed
// fields have them.
func Forbidden(gvk schema.GroupVersionKind, defined, live map[string]any) *fieldpath.Set {
	f := &finder{found: fieldpath.NewSet()}
	f.visit(defined, live, ShapeOf(gvk), nil)
	return f.found
}

// KeepsSilently says whether the server may keep what a definition forbids, rather than refuse
// the definition: it does not look at the parameters of a DaemonSet's strategy that has none.
func KeepsSilently(kind schema.GroupKind, definition map[string]any) bool {
	return kind == appsv1.SchemeGroupVersion.WithKind("DaemonSet").GroupKind() &&
		text(definition, "spec", "updateStrategy", "type") == string(appsv1.OnDeleteDaemonSetStrategyType)
}

// A finder looks for what a definition forbids.
type finder struct{ found *fieldpath.Set }

func (f *finder) add(path fieldpath.Path, elements ...fieldpath.PathElement) {
	f.found.Insert(append(path.Copy(), elements...))
}

func (f *finder) visit(defined, live any, shape Shape, path fieldpath.Path) {
	d, ok1 := defined.(map[string]any)
	l, ok2 := live.(map[string]any)
	if !ok1 || !ok2 || !shape.IsStruct() {
		return
	}
	for _, u := range unions[shape.value()] {
		for _, name := range u.forbidden(d) {
			if _, there := l[name]; there {
				f.add(path, fieldpath.FieldNameElement(name))
			}
		}
	}
	if shape.value() == reflect.TypeFor[corev1.PodSpec]() {
		f.hostPorts(d, l, path)
	}
	for name, value := range d {
		field, at := shape.Field(name), append(path.Copy(), fieldpath.FieldNameElement(name))
		if len(field.MergeKeys) > 0 {
			f.visitList(value, l[name], field, at)
		} else {
			f.visit(value, l[name], field.Shape, at)
		}
	}
}

func (f *finder) visitList(defined, live any, field Field, path fieldpath.Path) {
	items, _ := defined.([]any)
	others, _ := live.([]any)
	at := map[string]any{}
	for _, other := range others {
		if key, ok := KeyOf(other, field.MergeKeys); ok {
			at[key.String()] = other
		}
	}
	for _, item := range items {
		if key, ok := KeyOf(item, field.MergeKeys); ok {
			f.visit(item, at[key.String()], field.Element(), append(path.Copy(), key))
		}
	}
}

// hostPorts finds the ports of the host that the containers of a pod have only because the
// pod had the host's network.
func (f *finder) hostPorts(defined, live map[string]any, path fieldpath.Path) {
	if defined["hostNetwork"] == true {
		return
	}
	for _, list := range ContainerFields {
		field := ShapeOf(corev1.SchemeGroupVersion.WithKind("Pod")).Field("spec").Field(list)
		ports := field.Element().Field("ports")
		wanted := map[string]bool{}
		portsOf(defined, list, field, ports, func(at fieldpath.Path, port map[string]any) { wanted[at.String()] = port["hostPort"] != nil })
		portsOf(live, list, field, ports, func(at fieldpath.Path, port map[string]any) {
			if has, there := wanted[at.String()]; there && !has && port["hostPort"] != nil && Equal(port["hostPort"], port["containerPort"]) {
				f.add(path, append(at, fieldpath.FieldNameElement("hostPort"))...)
			}
		})
	}
}

func portsOf(pod map[string]any, list string, containers, ports Field, do func(fieldpath.Path, map[string]any)) {
	for container := range Items(pod, list) {
		key, ok := KeyOf(container, containers.MergeKeys)
		if !ok {
			continue
		}
		for port := range Items(container, "ports") {
			portKey, ok := KeyOf(port, ports.MergeKeys)
			m, isMap := port.(map[string]any)
			if ok && isMap {
				do(fieldpath.Path{fieldpath.FieldNameElement(list), key, fieldpath.FieldNameElement("ports"), portKey}, m)
			}
		}
	}
}

// KeyOf returns what tells an element of a list apart from the others, given the list's merge
// keys. It fails for one that lacks a key which the server cannot fill in.
func KeyOf(item any, mergeKeys []string) (fieldpath.PathElement, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return fieldpath.PathElement{}, false
	}
	fields := make([]any, 0, 2*len(mergeKeys))
	for _, name := range mergeKeys {
		value, there := m[name]
		if !there || value == nil {
			if value, there = MissingKey(name); !there {
				return fieldpath.PathElement{}, false
			}
		}
		switch value.(type) {
		case map[string]any, []any:
			return fieldpath.PathElement{}, false
		}
		fields = append(fields, name, value)
	}
	return fieldpath.PathElement{Key: fieldpath.KeyByFields(fields...)}, true
}
