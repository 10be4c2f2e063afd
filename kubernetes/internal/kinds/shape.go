package kinds

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// A Shape is what Kubernetes' own Go types say of a value in an object: what the server makes
// of a value, when it leaves a field out, and how it tells elements of lists apart. The zero
// Shape is that of values of which nothing is known, such as those of custom resources: what
// they say counts as it is written.
type Shape struct{ t reflect.Type }

// ShapeOf returns the shape of the objects of a kind.
func ShapeOf(gvk schema.GroupVersionKind) Shape {
	if t, ok := mirrored[gvk.GroupKind()]; ok {
		return Shape{t}
	}
	if t, ok := goTypes()[gvk]; ok {
		return Shape{t}
	}
	return Shape{reflect.TypeFor[customResource]()}
}

// goTypes has the Go types of Kubernetes' own kinds. The scheme makes a copy for each caller.
var goTypes = sync.OnceValue(scheme.Scheme.AllKnownTypes)

// customResource is the shape of all kinds of which no more is known than their metadata.
type customResource struct {
	Metadata metav1.ObjectMeta `json:"metadata,omitempty"`
}

// IsKnown says whether anything is known of the value.
func (s Shape) IsKnown() bool { return s.t != nil }

// A Field is a field of a struct.
type Field struct {
	Shape
	// MergeKeys are the fields that tell the elements of a list apart which Kubernetes merges;
	// nil stands for a list, or another value, that is replaced as a whole.
	MergeKeys []string

	omitEmpty bool
}

// Field returns a field of a struct, or an entry of a map.
func (s Shape) Field(name string) Field {
	t := s.value()
	switch {
	case t == nil:
	case t.Kind() == reflect.Map:
		return Field{Shape: Shape{t.Elem()}}
	case t.Kind() == reflect.Struct:
		return fieldsOf(t)[name]
	}
	return Field{}
}

// Element returns the shape of the elements of a list.
func (s Shape) Element() Shape {
	if t := s.value(); t != nil && t.Kind() == reflect.Slice {
		return Shape{t.Elem()}
	}
	return Shape{}
}

// IsStruct says whether the names of the value's fields are Kubernetes', not a user's.
func (s Shape) IsStruct() bool {
	t := s.value()
	return t != nil && t.Kind() == reflect.Struct
}

// IsSelector says whether the value is a selector by labels.
func (s Shape) IsSelector() bool { return s.value() == selectorType }

// value returns the type without pointers.
func (s Shape) value() reflect.Type {
	if s.t != nil && s.t.Kind() == reflect.Pointer {
		return s.t.Elem()
	}
	return s.t
}

// MayLack says whether the server leaves out a field that is set to value: it cannot tell
// false, 0, "" and what is empty from what is not set, unless it keeps a pointer to it.
func (f Field) MayLack(value any) bool {
	if value == nil {
		return f.IsKnown()
	}
	if f.t == nil || f.t.Kind() == reflect.Pointer {
		return false
	}
	switch v := value.(type) {
	case map[string]any:
		if f.IsStruct() { // which is written, if empty, or not: it means the same
			for name, below := range v {
				if !f.Field(name).MayLack(below) {
					return false
				}
			}
			return true
		}
		return f.omitEmpty && len(v) == 0
	case []any:
		return f.omitEmpty && len(v) == 0
	case string:
		return f.omitEmpty && v == ""
	case bool:
		return f.omitEmpty && !v
	}
	n, ok := Number(value)
	return f.omitEmpty && ok && n == 0
}

// Number returns the value of a number, whatever decoded it, unless it is not exact.
func Number(value any) (float64, bool) {
	switch n := value.(type) {
	case int64:
		return float64(n), int64(float64(n)) == n
	case int:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// Equal says whether the server makes of two values, neither of which is a map or a list, the
// same.
func (s Shape) Equal(a, b any) bool {
	if x, ok := Number(a); ok {
		if y, ok := Number(b); ok {
			return x == y
		}
	}
	switch a.(type) {
	case string, bool:
		if a == b {
			return true
		}
	}
	switch s.value() {
	case quantityType:
		x, ok1 := quantity(a)
		y, ok2 := quantity(b)
		return ok1 && ok2 && x.Cmp(y) == 0
	case bytesType:
		x, ok1 := decoded(a)
		y, ok2 := decoded(b)
		return ok1 && ok2 && bytes.Equal(x, y)
	case timeType, microTimeType:
		x, ok1 := instant(a)
		y, ok2 := instant(b)
		return ok1 && ok2 && x.Equal(y)
	case durationType:
		x, ok1 := duration(a)
		y, ok2 := duration(b)
		return ok1 && ok2 && x == y
	}
	return false
}

// Equal says whether two values of which nothing else is known are the same, whatever decoded them.
func Equal(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return reflect.DeepEqual(a, b)
	}
	return Shape{}.Equal(a, b) || a == nil && b == nil
}

// longExponent matches quantities that it takes very long to compare.
var longExponent = regexp.MustCompile(`[eE][+-]?[0-9]{4}`)

func quantity(value any) (q resource.Quantity, ok bool) {
	text := fmt.Sprint(value)
	if len(text) > 100 || longExponent.MatchString(text) {
		return q, false
	}
	q, err := resource.ParseQuantity(text)
	return q, err == nil
}

func decoded(value any) ([]byte, bool) {
	text, ok := value.(string)
	data, err := base64.StdEncoding.DecodeString(text) // line ends count for nothing
	return data, ok && err == nil
}

func instant(value any) (time.Time, bool) {
	text, ok := value.(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	return t, ok && err == nil
}

func duration(value any) (time.Duration, bool) {
	text, ok := value.(string)
	d, err := time.ParseDuration(text)
	return d, ok && err == nil
}

var (
	selectorType  = reflect.TypeFor[metav1.LabelSelector]()
	quantityType  = reflect.TypeFor[resource.Quantity]()
	bytesType     = reflect.TypeFor[[]byte]()
	timeType      = reflect.TypeFor[metav1.Time]()
	microTimeType = reflect.TypeFor[metav1.MicroTime]()
	durationType  = reflect.TypeFor[metav1.Duration]()
	marshalerType = reflect.TypeFor[json.Marshaler]()
)

// besideMergeKey has the fields by which server-side apply tells elements apart beside the
// merge key of strategic merge patches, and what the server takes them for if they are left
// out. It is not in the Go types.
var besideMergeKey = map[string]struct {
	name    string
	missing any
}{
	"containerPort": {"protocol", "TCP"},
	"port":          {"protocol", "TCP"},
	"topologyKey":   {"whenUnsatisfiable", nil},
}

// MissingKey returns what the server takes a merge key for that an element leaves out.
func MissingKey(name string) (any, bool) {
	for _, beside := range besideMergeKey {
		if beside.name == name && beside.missing != nil {
			return beside.missing, true
		}
	}
	return nil, false
}

// known has the fields of structs, by type.
var known sync.Map

func fieldsOf(t reflect.Type) map[string]Field {
	if fields, ok := known.Load(t); ok {
		return fields.(map[string]Field)
	}
	fields := map[string]Field{}
	if !reflect.PointerTo(t).Implements(marshalerType) { // which has a form of its own
		addFields(t, fields)
	}
	known.Store(t, fields)
	return fields
}

func addFields(t reflect.Type, fields map[string]Field) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			addFields(Shape{field.Type}.value(), fields)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		f := Field{Shape: Shape{field.Type}, omitEmpty: slices.Contains(strings.Split(options, ","), "omitempty") || strings.Contains(options, "omitzero")}
		if strings.Contains(field.Tag.Get("patchStrategy"), "merge") {
			if key := field.Tag.Get("patchMergeKey"); key != "" {
				f.MergeKeys = []string{key}
				if beside, ok := besideMergeKey[key]; ok && hasField(Shape{field.Type}.Element(), beside.name) {
					f.MergeKeys = append(f.MergeKeys, beside.name)
				}
			}
		}
		fields[name] = f
	}
}

func hasField(s Shape, name string) bool {
	t := s.value()
	if t == nil || t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name {
			return true
		}
	}
	return false
}

// mirrored has the shapes of kinds whose Go types are in modules that would bring a whole API
// server along.
var mirrored = map[schema.GroupKind]reflect.Type{
	CustomResourceDefinition: reflect.TypeFor[customResourceDefinition](),
	apiService:               reflect.TypeFor[apiServiceObject](),
}

type customResourceDefinition struct {
	Metadata metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec     struct {
		Group string `json:"group"`
		Names struct {
			Plural     string   `json:"plural"`
			Singular   string   `json:"singular,omitempty"`
			ShortNames []string `json:"shortNames,omitempty"`
			Kind       string   `json:"kind"`
			ListKind   string   `json:"listKind,omitempty"`
			Categories []string `json:"categories,omitempty"`
		} `json:"names"`
		Scope                 string                `json:"scope"`
		Versions              []definitionVersion   `json:"versions"`
		Conversion            *definitionConversion `json:"conversion,omitempty"`
		PreserveUnknownFields bool                  `json:"preserveUnknownFields,omitempty"`
	} `json:"spec"`
}

type definitionVersion struct {
	Name                     string            `json:"name"`
	Served                   bool              `json:"served"`
	Storage                  bool              `json:"storage"`
	Deprecated               bool              `json:"deprecated,omitempty"`
	DeprecationWarning       *string           `json:"deprecationWarning,omitempty"`
	AdditionalPrinterColumns []printerColumn   `json:"additionalPrinterColumns,omitempty"`
	SelectableFields         []selectableField `json:"selectableFields,omitempty"`
	Schema                   *definitionSchema `json:"schema,omitempty"`
	Subresources             *definitionSubs   `json:"subresources,omitempty"`
}

type definitionSchema struct {
	OpenAPIV3Schema *schemaProps `json:"openAPIV3Schema,omitempty"`
}

type definitionSubs struct {
	Status *struct{} `json:"status,omitempty"`
	Scale  *struct {
		SpecReplicasPath   string  `json:"specReplicasPath"`
		StatusReplicasPath string  `json:"statusReplicasPath"`
		LabelSelectorPath  *string `json:"labelSelectorPath,omitempty"`
	} `json:"scale,omitempty"`
}

type printerColumn struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Format      string `json:"format,omitempty"`
	Description string `json:"description,omitempty"`
	Priority    int32  `json:"priority,omitempty"`
	JSONPath    string `json:"jsonPath"`
}

type selectableField struct {
	JSONPath string `json:"jsonPath"`
}

// schemaProps has those fields of a schema that the server leaves out where they are empty.
type schemaProps struct {
	Description  string                 `json:"description,omitempty"`
	Type         string                 `json:"type,omitempty"`
	Nullable     bool                   `json:"nullable,omitempty"`
	Format       string                 `json:"format,omitempty"`
	Title        string                 `json:"title,omitempty"`
	Pattern      string                 `json:"pattern,omitempty"`
	UniqueItems  bool                   `json:"uniqueItems,omitempty"`
	Enum         []any                  `json:"enum,omitempty"`
	Required     []string               `json:"required,omitempty"`
	Properties   map[string]schemaProps `json:"properties,omitempty"`
	Items        *schemaProps           `json:"items,omitempty"`
	ExclusiveMin bool                   `json:"exclusiveMinimum,omitempty"`
	ExclusiveMax bool                   `json:"exclusiveMaximum,omitempty"`
	EmbeddedRes  bool                   `json:"x-kubernetes-embedded-resource,omitempty"`
	IntOrString  bool                   `json:"x-kubernetes-int-or-string,omitempty"`
	ListMapKeys  []string               `json:"x-kubernetes-list-map-keys,omitempty"`
	AllOf        []schemaProps          `json:"allOf,omitempty"`
	OneOf        []schemaProps          `json:"oneOf,omitempty"`
	AnyOf        []schemaProps          `json:"anyOf,omitempty"`
	Not          *schemaProps           `json:"not,omitempty"`
	Additional   *schemaProps           `json:"additionalProperties,omitempty"`
}

type definitionConversion struct {
	Strategy string `json:"strategy"`
	Webhook  *struct {
		ClientConfig *struct {
			URL      *string        `json:"url,omitempty"`
			Service  *serviceTarget `json:"service,omitempty"`
			CABundle []byte         `json:"caBundle,omitempty"`
		} `json:"clientConfig,omitempty"`
		ConversionReviewVersions []string `json:"conversionReviewVersions"`
	} `json:"webhook,omitempty"`
}

type serviceTarget struct {
	Namespace string  `json:"namespace,omitempty"`
	Name      string  `json:"name,omitempty"`
	Path      *string `json:"path,omitempty"`
	Port      *int32  `json:"port,omitempty"`
}

type apiServiceObject struct {
	Metadata metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec     struct {
		Service               *serviceTarget `json:"service,omitempty"`
		Group                 string         `json:"group,omitempty"`
		Version               string         `json:"version,omitempty"`
		InsecureSkipTLSVerify bool           `json:"insecureSkipTLSVerify,omitempty"`
		CABundle              []byte         `json:"caBundle,omitempty"`
		GroupPriorityMinimum  int32          `json:"groupPriorityMinimum"`
		VersionPriority       int32          `json:"versionPriority"`
	} `json:"spec,omitempty"`
}
