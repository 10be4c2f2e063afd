package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	_ "embed"
)

// In the case large-cluster, most objects in the cluster are others'. Time, memory and
// traffic should follow what is applied, and not what else there is.
var ofLargeCluster = syncCase{
	what:       "large-cluster",
	sizes:      []int{100},
	contenders: []syncContender{us, watching, fluxcd10, kubectlSSA},
	steps: append(slices.Clone(syncSteps),
		step{phase: someServices, newer: true, who: []string{us.who}},
		step{phase: planned, newer: true, who: []string{us.who}}),
	manifests: func(prefix string, n, changed int) ([][]byte, error) {
		return manifestsOf(secretTemplates, prefix, ownNamespaces, n, changed)
	},
	crowded: true,
}

const (
	ownNamespaces = 3
	sharedPrefix  = "bench-shared" // of our namespaces, if others have objects in them
	sharedSuffix  = "-shared"      // of the names of phases then
)

// secretTemplates are those of a Secret and of the first kinds of an application.
var (
	//go:embed secret.yaml
	secretYAML      string
	secretTemplates = append([]*template.Template{template.Must(template.New("secret.yaml").Parse(secretYAML))}, appTemplates[:6]...)
)

// neighbours are others' objects in a cluster.
type neighbours struct {
	number int
	shared bool // they are in the namespaces of ours
}

func parseNeighbours(text string) (neighbours, error) {
	digits, shared := strings.CutSuffix(text, sharedSuffix)
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 {
		return neighbours{}, fmt.Errorf("%q is not a number of objects", text)
	}
	return neighbours{n, shared}, nil
}

func (n neighbours) String() string {
	if n.shared {
		return strconv.Itoa(n.number) + sharedSuffix
	}
	return strconv.Itoa(n.number)
}

// mark returns the row of a measurement beside n, which may be nil.
func (n *neighbours) mark(r row) row {
	if n == nil {
		return r
	}
	r.Others = &n.number
	if n.shared {
		r.Phase += sharedSuffix
	}
	return r
}

// create creates the objects: seven kinds, in a namespace for each hundred of them unless
// they are in ours.
func (n neighbours) create(ctx context.Context, c *cluster) error {
	prefix, namespaces := "other", (n.number+99)/100
	if n.shared {
		prefix, namespaces = sharedPrefix, ownNamespaces
		c.shared = true
	}
	for i := range namespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceName(prefix, i)}}
		if _, err := c.typed.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range n.number {
		group.Go(func() error { return createOther(ctx, c.typed, namespaceName(prefix, i%namespaces), i) })
	}
	return group.Wait()
}

// createOther creates the object with a number. Its kind depends on the number.
func createOther(ctx context.Context, client kubernetes.Interface, namespace string, i int) (err error) {
	name := fmt.Sprintf("other-%05d", i)
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{
		"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "others", "app.kubernetes.io/managed-by": "someone-else",
	}}
	var o metav1.CreateOptions
	switch i % 7 {
	case 0:
		_, err = client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, o)
	case 1:
		data := base64.StdEncoding.EncodeToString(noise(i, 3<<10))
		_, err = client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"data": data}}, o)
	case 2:
		_, err = client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"data": noise(i, 40<<10)}}, o)
	case 3:
		_, err = client.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"configmaps", "secrets"}, Verbs: []string{"get", "list", "watch"}},
		}}, o)
	case 4:
		_, err = client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
		}, o)
	case 5:
		_, err = client.CoreV1().Services(namespace).Create(ctx, service(meta), o)
	case 6:
		_, err = client.AppsV1().Deployments(namespace).Create(ctx, deployment(meta), o)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create %s/%s", namespace, name), err)
	}
	return nil
}

// noise returns n bytes that do not compress. They depend only on the seed.
func noise(seed, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(data) // which never fails
	return data
}
