package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// The layouts of the services.
const (
	spread       = "spread"        // over a hundred namespaces
	oneNamespace = "one-namespace" // all in one
)

// readingCase reads a cluster that has many services, each with its deployment.
type readingCase struct {
	what    string   // the name of the case and of the rows
	layouts []string // the phases
	readers []reader
}

// A reader is a contender that reads a cluster.
type reader struct {
	who     string
	program string // what the program calls it
	times   int    // it runs so many times as often as the options say
}

// Two bare lists vary more from run to run than they differ from this library's, so that
// they are measured more often.
var (
	servicesCase = readingCase{"services", []string{spread, oneNamespace}, []reader{
		{"platform", "services", 3}, {"floor", "services-floor", 3}, {"per-namespace", "services-per-namespace", 1},
	}}
	exportCase = readingCase{"export", []string{spread}, []reader{
		{"platform", "export", 1}, {"floor", "export-floor", 1},
	}}
)

func (c readingCase) name() string { return c.what }

func (c readingCase) run(ctx context.Context, o options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(buildContenders(ctx, dir), os.Mkdir(filepath.Join(dir, "empty"), 0o755)); err != nil {
		return nil, err
	}
	size := slices.Max(o.sizesOr([]int{10_000}))
	for _, layout := range c.layouts {
		more, err := c.measure(ctx, o, dir, size, layout)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", layout, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// measure measures all readers on a new control plane, in turns. Each measurement uses a new
// process.
func (c readingCase) measure(ctx context.Context, o options, dir string, size int, layout string) (rows []row, err error) {
	cluster, err := startCluster(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	if err := fill(ctx, cluster.typed, size, layout); err != nil {
		return nil, fmt.Errorf("fill the cluster: %w", err)
	}
	taken := make([][]measurement, len(c.readers))
	most := slices.MaxFunc(c.readers, func(a, b reader) int { return cmp.Compare(a.times, b.times) }).times
	for round := range most*o.runs + 1 { // the first is to warm up
		for i := range c.readers {
			i = (i + round) % len(c.readers)
			if round > c.readers[i].times*o.runs {
				continue
			}
			m, err := c.once(ctx, cluster, access{kubeconfig: cluster.Kubeconfig(), programs: dir, profile: o.profile}, c.readers[i].program)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.readers[i].who, err)
			}
			fmt.Fprintf(os.Stderr, "%s, %s, round %d, %s: %.0f ms, %.0f MB\n", c.what, layout, round, c.readers[i].who, m.MS, m.PeakRSSMB)
			if round > 0 {
				taken[i] = append(taken[i], m)
			}
		}
	}
	for i, r := range c.readers {
		rows = append(rows, row{Case: c.what, Size: size, Phase: layout, Who: r.who}.withMedians(taken[i]))
	}
	return rows, nil
}

func (c readingCase) once(ctx context.Context, cluster *cluster, a access, reader string) (m measurement, err error) {
	before, err := cluster.requests(ctx)
	if err != nil {
		return m, err
	}
	w, err := startProcess(ctx, a, "reading", "-what", reader)
	if err != nil {
		return m, err
	}
	m.Measurement, err = w.do(ctx, c.what, filepath.Join(a.programs, "empty"))
	if err = errors.Join(err, w.close()); err != nil {
		return m, err
	}
	after, err := cluster.requests(ctx)
	m.requests = after - before
	return m, err
}

// fill creates n services and n deployments.
func fill(ctx context.Context, client kubernetes.Interface, n int, layout string) error {
	namespaces := 100
	if layout == oneNamespace {
		namespaces = 1
	}
	name := func(i int) string { return fmt.Sprintf("bench-%03d", i%namespaces) }
	for i := range namespaces {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error {
			app := fmt.Sprintf("app-%05d", i)
			meta := metav1.ObjectMeta{Name: app, Labels: map[string]string{"app": app, "part-of": "bench"}}
			_, err1 := client.CoreV1().Services(name(i)).Create(ctx, service(meta), metav1.CreateOptions{})
			_, err2 := client.AppsV1().Deployments(name(i)).Create(ctx, deployment(meta), metav1.CreateOptions{})
			return errors.Join(err1, err2)
		})
	}
	return group.Wait()
}

// service returns a service that selects the pods with its own labels.
func service(meta metav1.ObjectMeta) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: meta,
		Spec:       corev1.ServiceSpec{Selector: meta.Labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// deployment returns a deployment whose pods have its own labels.
func deployment(meta metav1.ObjectMeta) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: meta.Labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example.org/" + meta.Name + ":1"}}},
			},
		},
	}
}
