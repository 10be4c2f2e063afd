package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// What Load reads at most.
const (
	maxFileSize  = 16 << 20         // bytes in one file
	maxTotalSize = 256 << 20        // bytes in all files together
	maxObjects   = parse.MaxObjects // in all files together
)

const kustomizeGroup = "kustomize.config.k8s.io"

// An Ignored is a file or folder that Load did not take for a manifest.
type Ignored struct {
	// Path is where it is in the file system.
	Path string
	// Why says what it was taken for instead.
	Why string
}

// String returns the path and the reason.
func (i Ignored) String() string { return redact.Name(i.Path) + ": " + i.Why }

// Load returns the objects of all manifests in fsys, in the lexical order of their paths
// and in each file from top to bottom. Each says which file and line it comes from.
//
// A manifest is a file whose name ends in .yaml, .yml or .json and that holds objects.
// Files of other endings are passed over. What has the ending and is no manifest is
// returned as ignored:
//
//   - a file in which nothing looks like an object, such as the values of a chart: no
//     document has two of apiVersion, kind and metadata;
//   - a kustomization, which is not built, and a folder with a Chart.yaml, which is not
//     rendered;
//   - hidden files and folders, whose names begin with a dot;
//   - symbolic links, and whatever else is no regular file.
//
// A file in which anything looks like an object has to be right as a whole: to lose one
// for a slip of the pen would have a Plan delete it. So has the folder: Load returns all
// objects, or an error that says of each file what is wrong with it, and of an object that
// is defined twice in which two places. Beside an error, too, it returns what was ignored.
//
// It reads no more than 16 MiB of a file, 256 MiB and 100,000 objects in all; what has
// more is an error.
func Load(fsys fs.FS) ([]Object, []Ignored, error) {
	if fsys == nil {
		return nil, nil, errors.New("load: there is no file system")
	}
	l := loader{fsys: fsys, places: map[key]string{}, limits: parse.NewLimits(0, maxObjects)}
	if err := fs.WalkDir(fsys, ".", l.visit); err != nil {
		l.failed = append(l.failed, err)
	}
	if err := redact.Error(redact.Join(l.failed...)); err != nil {
		return nil, l.ignored, err
	}
	return l.objects, l.ignored, nil
}

// A loader is one Load under way.
type loader struct {
	fsys    fs.FS
	size    int
	objects []Object
	places  map[key]string // of the objects
	ignored []Ignored
	failed  []error
	limits  *parse.Limits
}

// visit is called for each file and folder. The error it returns, if it is not about a
// folder to skip, ends the walk.
func (l *loader) visit(name string, entry fs.DirEntry, err error) error {
	switch {
	case err != nil:
		l.fail(name, err)
		return nil
	case entry.IsDir():
		return l.folder(name)
	case !hasManifestEnding(name):
		return nil
	case isHidden(name):
		l.ignore(name, "it is hidden")
		return nil
	case entry.Type()&fs.ModeSymlink != 0:
		l.ignore(name, "it is a symbolic link")
		return nil
	case !entry.Type().IsRegular():
		l.ignore(name, "it is no regular file")
		return nil
	}
	data, err := l.read(name)
	if err != nil {
		l.fail(name, err)
		return nil
	}
	if l.size += len(data); l.size > maxTotalSize {
		return fmt.Errorf("%s: the files have more than %d MiB together", redact.Name(name), maxTotalSize>>20)
	}
	return l.file(name, data)
}

func (l *loader) folder(name string) error {
	if isHidden(name) {
		l.ignore(name, "it is hidden")
		return fs.SkipDir
	}
	if info, err := fs.Stat(l.fsys, path.Join(name, "Chart.yaml")); err == nil && !info.IsDir() {
		l.ignore(name, "it is a Helm chart, which is not rendered here")
		return fs.SkipDir
	}
	return nil
}

// read returns what is in a file, unless that is too much.
func (l *loader) read(name string) (data []byte, err error) {
	file, err := l.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := file.Close(); err == nil {
			err = closing
		}
	}()
	data, err = io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("the file has more than %d MiB", maxFileSize>>20)
	}
	return data, err
}

// file takes in the objects of one file. The error it returns ends the walk.
func (l *loader) file(name string, data []byte) error {
	l.limits.Add(len(data))
	objects, err := parseWithin(data, l.limits)
	if errors.Is(err, parse.ErrTooManyObjects) {
		return fmt.Errorf("%s: the files have more than %d objects together", redact.Name(name), maxObjects)
	}
	if why := notManifest(name, data, objects, err); why != "" {
		l.ignore(name, why)
		return nil
	}
	if err != nil {
		l.fail(name, err)
		return nil
	}
	for _, o := range objects {
		o.Source = name
		k := keyOf(o.Unstructured)
		if first, twice := l.places[k]; twice {
			l.failed = append(l.failed, fmt.Errorf("%s: %s %s is defined a second time, first at %s", o.place(), redact.Name(k.Kind), redact.Name(path.Join(k.namespace, k.name)), first))
			continue
		}
		l.places[k] = o.place()
		l.objects = append(l.objects, o)
	}
	return nil
}

func (l *loader) ignore(name, why string) { l.ignored = append(l.ignored, Ignored{name, why}) }

// fail notes what is wrong with a file, in one line.
func (l *loader) fail(name string, err error) {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = fmt.Errorf("%s: %w", at.Op, at.Err)
	}
	l.failed = append(l.failed, fmt.Errorf("%s: %w", redact.Name(name), err))
}

// place says where the object was read.
func (o Object) place() string {
	switch {
	case o.Source == "" && o.Line == 0:
		return ""
	case o.Source == "":
		return fmt.Sprintf("line %d", o.Line)
	default:
		return fmt.Sprintf("%s:%d", redact.Name(o.Source), o.Line)
	}
}

func hasManifestEnding(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func isHidden(name string) bool {
	base := path.Base(name)
	return base != "." && strings.HasPrefix(base, ".")
}

// notManifest says why a file is not a manifest, of which Parse made objects or an error;
// it returns "" for one that is.
func notManifest(name string, data []byte, objects []Object, err error) string {
	kustomization := strings.TrimSuffix(strings.ToLower(path.Base(name)), strings.ToLower(path.Ext(name))) == "kustomization"
	if err == nil {
		for _, o := range objects {
			if o.GroupVersionKind().Group != kustomizeGroup {
				return ""
			}
			kustomization = true
		}
		if len(objects) == 0 && !kustomization {
			return "it holds no object"
		}
	}
	if parse.IsUTF16(data) {
		return "" // nobody can tell what it is
	}
	malformed, limits := false, parse.NewLimits(len(data), parse.AnyNumber)
	for _, doc := range parse.Split(data) {
		switch looksLike(doc, limits) {
		case anObject:
			return ""
		case aKustomization:
			kustomization = true
		case unreadable:
			malformed = true
		case nothing:
		}
	}
	switch {
	case kustomization:
		return "it is a kustomization, which is not built here"
	case malformed:
		return fmt.Sprintf("no document looks like an object, and it cannot be read: %v", err)
	default:
		return "no document has an apiVersion and a kind"
	}
}

// A looks is what a document can be taken for.
type looks int

const (
	nothing looks = iota
	anObject
	aKustomization
	unreadable
)

// telling finds, in a document that cannot be read, the keys that tell an object.
var telling = regexp.MustCompile(`(?:^|[{,\s])["']?(apiVersion|kind|metadata)["']?[ \t]*:`)

func looksLike(doc parse.Document, limits *parse.Limits) looks {
	found := map[string]bool{}
	value, err := doc.Value(context.Background(), limits)
	if err != nil {
		for _, match := range telling.FindAllSubmatch(doc.Text, -1) {
			found[string(match[1])] = true
		}
		if len(found) >= 2 {
			return anObject
		}
		return unreadable
	}
	content, _ := value.(map[string]any)
	for _, name := range []string{"apiVersion", "kind", "metadata"} {
		if _, ok := content[name]; ok {
			found[name] = true
		}
	}
	apiVersion, _ := content["apiVersion"].(string)
	switch {
	case strings.HasPrefix(apiVersion, kustomizeGroup+"/"):
		return aKustomization
	case len(found) >= 2:
		return anObject
	default:
		return nothing
	}
}
