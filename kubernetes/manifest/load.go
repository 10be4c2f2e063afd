package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
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

// localConfig is the annotation, known from kustomize, of objects that are for tools and not
// for a cluster: with any value but "false".
const localConfig = "config.kubernetes.io/local-config"

// An Ignored is a file, a folder, or a document in a file, that Load did not take for a
// manifest.
type Ignored struct {
	// Path is where it is in the file system. If it is one of several documents of a file,
	// a colon and the line follow at which it begins.
	Path string
	// Why says what it was taken for instead.
	Why string
}

// String returns the path and the reason.
func (i Ignored) String() string { return redact.Name(i.Path) + ": " + i.Why }

// Load returns the objects of all manifests in fsys, in the lexical order of their paths
// and in each file from top to bottom. Each says which file and line it comes from.
//
// A manifest is a document in a file whose name ends in .yaml, .yml or .json. Files of other
// endings are passed over. What has the ending and is no manifest is returned as ignored:
//
//   - a document with fewer than two of apiVersion, kind and metadata, such as the values of
//     a chart;
//   - an object with the annotation config.kubernetes.io/local-config, unless that is
//     "false";
//   - a kustomization, which is not built, and a folder with a Chart.yaml, which is not
//     rendered;
//   - what a file .platformignore leaves out;
//   - hidden files and folders, whose names begin with a dot;
//   - symbolic links, and whatever else is no regular file.
//
// A .platformignore is written as a .gitignore is, and applies to the folder that it is in and
// to those below. The last pattern that matches decides, and the file in a folder goes before
// those of the folders around it. What is in a folder that is left out cannot be taken in
// again. A pattern that is malformed, which git passes over, is an error.
//
// A document with two of apiVersion, kind and metadata has to be right: a Plan would delete an object
// that is lost to a typing error. For the same reason a document that cannot be
// read is an error if the file holds an object, or if the document looks like one. So has the
// folder: Load returns all objects, or an error that says of each document what is wrong with
// it, and of an object that is defined twice in which two places. It is an error if fsys has
// no folder at its root, or one that cannot be read. Beside an error, too, Load returns what
// was ignored.
//
// It reads no more than 16 MiB of a file, 256 MiB and 100,000 objects in all, of a
// .platformignore no more than 1 MiB and of its patterns no more than 512 bytes, and no more
// than 1,000 patterns that apply to one folder; what has more is an error.
func Load(fsys fs.FS) ([]Object, []Ignored, error) {
	if fsys == nil {
		return nil, nil, errors.New("load: there is no file system")
	}
	l := loader{fsys: fsys, locations: map[key]string{}, limits: parse.NewLimits(0, maxObjects)}
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
	fsys        fs.FS
	size        int
	objects     []Object
	locations   map[key]string // of the objects
	ignored     []Ignored
	ignoreFiles []ignoreFile // that may apply to the next path, the outermost first
	failed      []error
	limits      *parse.Limits
}

// visit is called for each file and folder. The error it returns, if it is not about a
// folder to skip, ends the walk.
func (l *loader) visit(name string, entry fs.DirEntry, err error) error {
	switch {
	case err != nil:
		l.fail(name, err)
		return nil
	case name == "." && !entry.IsDir():
		l.fail(name, errors.New("it is no folder"))
		return nil
	case entry.IsDir():
		return l.folder(name)
	case !hasManifestEnding(name):
		return nil
	case isHidden(name):
		l.ignore(name, "it is hidden")
		return nil
	}
	if why := l.leaveOut(name, false); why != "" {
		l.ignore(name, why)
		return nil
	}
	switch {
	case entry.Type()&fs.ModeSymlink != 0:
		l.ignore(name, "it is a symbolic link")
		return nil
	case !entry.Type().IsRegular():
		l.ignore(name, "it is no regular file")
		return nil
	}
	data, err := l.read(name, maxFileSize)
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
	if why := l.leaveOut(name, true); why != "" {
		l.ignore(name, why)
		return fs.SkipDir
	}
	if info, err := fs.Stat(l.fsys, path.Join(name, "Chart.yaml")); err == nil && !info.IsDir() {
		l.ignore(name, "it is a Helm chart, which is not rendered here")
		return fs.SkipDir
	}
	if err := l.readIgnoreFile(name); err != nil {
		l.fail(path.Join(name, ignoreFileName), err)
	}
	return nil
}

// read returns what is in a file, unless that is more than most bytes.
func (l *loader) read(name string, most int) (data []byte, err error) {
	file, err := l.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := file.Close(); err == nil {
			err = closing
		}
	}()
	data, err = io.ReadAll(io.LimitReader(file, int64(most)+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("the file has more than %d MiB", most>>20)
	}
	return data, err
}

func (l *loader) ignore(name, why string) { l.ignored = append(l.ignored, Ignored{name, why}) }

// fail notes what is wrong with a file or folder, in one line. What the file system says of
// the path is left out only if it is the name again.
func (l *loader) fail(name string, err error) {
	if at, ok := err.(*fs.PathError); ok && (at.Path == name || at.Path == "") { //nolint:errorlint // what is around it stays
		err = fmt.Errorf("%s: %w", at.Op, at.Err)
	}
	shown := redact.Name(name)
	if name == "." {
		shown = l.root()
	}
	l.failed = append(l.failed, fmt.Errorf("%s: %w", shown, err))
}

// root says which folder is the root of the file system. That of os.DirFS is known, but not
// named in its errors.
func (l *loader) root() string {
	if dir := reflect.ValueOf(l.fsys); dir.Kind() == reflect.String {
		return "the folder " + redact.Name(dir.String())
	}
	return "the root folder"
}

// location says where the object was read.
func (o Object) location() string {
	switch {
	case o.Source == "" && o.Line == 0:
		return ""
	case o.Source == "":
		return fmt.Sprintf("line %d", o.Line)
	default:
		return fmt.Sprintf("%s:%d", redact.Name(o.Source), o.Line)
	}
}

// at says of an error where the object was read that it is about, if that is known.
func (o Object) at(err error) error {
	if location := o.location(); location != "" {
		return fmt.Errorf("%s: %w", location, err)
	}
	return err
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
