package controlplane_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/controlplane/programs"
)

// limit bounds each wait for the controllers, on a busy machine and under the
// race detector.
const limit = time.Minute

func clientFor(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// until returns the first object of a watch for which a condition holds. The watch
// begins with the existing objects.
func until[T runtime.Object](t *testing.T, what string, w watch.Interface, err error, holds func(T) bool) T {
	t.Helper()
	require.NoError(t, err)
	defer w.Stop()
	timeout := time.After(limit)
	var last T
	for {
		select {
		case event, ok := <-w.ResultChan():
			require.True(t, ok, "the watch ended: %s", what)
			object, ok := event.Object.(T)
			require.True(t, ok, "%s: %v", event.Type, event.Object)
			if last = object; holds(object) {
				return object
			}
		case <-timeout:
			text, _ := json.Marshal(last)
			t.Fatalf("not within %v: %s: %s", limit, what, text)
		}
	}
}

func pods(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "before", Image: "example.org/before:1"}},
			Containers:     []corev1.Container{{Name: "web", Image: image}},
		},
	}
}

func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
}

func TestDeploymentRollsOut(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	client := clientFor(t, cp.Config())
	ctx := context.Background()
	deployments, all := client.AppsV1().Deployments(namespace), client.CoreV1().Pods(namespace)

	replicas := int32(2)
	_, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: pods("example.org/web:1"),
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	w, err := deployments.Watch(ctx, named("web"))
	d := until(t, "two replicas are available", w, err, func(d *appsv1.Deployment) bool {
		return d.Status.AvailableReplicas == 2 && d.Status.ObservedGeneration == d.Generation
	})

	t.Run("and an image that cannot be pulled fails", func(t *testing.T) {
		d.Spec.Template.Spec.Containers[0].Image = "example.org/web:" + controlplane.MissingTag
		_, err := deployments.Update(ctx, d, metav1.UpdateOptions{})
		require.NoError(t, err)
		w, err := all.Watch(ctx, metav1.ListOptions{})
		pod := until(t, "a pod waits for its image", w, err, func(p *corev1.Pod) bool {
			c := p.Status.ContainerStatuses
			return len(c) == 1 && c[0].State.Waiting != nil && c[0].State.Waiting.Reason == "ImagePullBackOff"
		})
		assert.Equal(t, corev1.PodPending, pod.Status.Phase)
		d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, int32(2), d.Status.AvailableReplicas, "the rollout keeps the pods that work")

		// A pod recovers when its image can be pulled.
		_, err = all.Patch(ctx, pod.Name, "application/strategic-merge-patch+json",
			[]byte(`{"spec":{"containers":[{"name":"web","image":"example.org/web:2"}]}}`), metav1.PatchOptions{})
		require.NoError(t, err)
		w, err = all.Watch(ctx, named(pod.Name))
		pod = until(t, "the pod runs", w, err, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
		assert.Nil(t, pod.Status.ContainerStatuses[0].State.Waiting)
		assert.NotNil(t, pod.Status.ContainerStatuses[0].State.Running)
		for _, c := range pod.Status.Conditions {
			assert.Empty(t, c.Reason, c.Type)
			assert.Equal(t, corev1.ConditionTrue, c.Status, c.Type)
		}
	})

	t.Run("and its pods go with it", func(t *testing.T) {
		foreground := metav1.DeletePropagationForeground
		require.NoError(t, deployments.Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &foreground}))
		w, err := deployments.Watch(ctx, named("web"))
		require.NoError(t, err)
		defer w.Stop()
		timeout := time.After(limit)
		for {
			select {
			case event, ok := <-w.ResultChan():
				require.True(t, ok, "the watch ended")
				if event.Type != watch.Deleted {
					continue
				}
				left, err := all.List(ctx, metav1.ListOptions{})
				require.NoError(t, err)
				assert.Empty(t, left.Items)
				return
			case <-timeout:
				t.Fatal("the Deployment is not gone")
			}
		}
	})
}

func TestJobCompletes(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	client := clientFor(t, cp.Config())
	ctx := context.Background()
	template := pods("example.org/task:1")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	_, err := client.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "task"},
		Spec:       batchv1.JobSpec{Template: template},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	w, err := client.BatchV1().Jobs(namespace).Watch(ctx, named("task"))
	until(t, "the Job is complete", w, err, func(j *batchv1.Job) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

func TestUsersHaveTheRightsOfTheirRoles(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	admin := clientFor(t, cp.Config())
	ctx := context.Background()
	config, err := cp.ConfigFor("eve", "guests")
	require.NoError(t, err)
	eve := clientFor(t, config)

	_, err = eve.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	assert.ErrorContains(t, err, `User "eve" cannot list resource "configmaps"`)

	_, err = admin.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = admin.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "guests"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	// The server's authorizer learns of a binding by a watch of its own.
	require.Eventually(t, func() bool {
		_, err = eve.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		return err == nil
	}, limit, 20*time.Millisecond, "the group's binding counts")

	anonymous := cp.Config()
	anonymous.CertData, anonymous.KeyData = nil, nil
	_, err = clientFor(t, anonymous).CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)

	_, err = cp.ConfigFor("")
	require.Error(t, err)
}

func TestServesTheKindsOfACluster(t *testing.T) {
	cp := controlplane.Require(t)
	client := clientFor(t, cp.Config())
	_, resources, err := client.Discovery().ServerGroupsAndResources()
	require.NoError(t, err)
	served := map[string]bool{}
	for _, list := range resources {
		for _, r := range list.APIResources {
			served[list.GroupVersion+" "+r.Name] = true
		}
	}
	for _, want := range []string{
		"admissionregistration.k8s.io/v1 validatingadmissionpolicies",
		"admissionregistration.k8s.io/v1 mutatingadmissionpolicies",
		"admissionregistration.k8s.io/v1 validatingwebhookconfigurations",
		"apiregistration.k8s.io/v1 apiservices",
		"apiextensions.k8s.io/v1 customresourcedefinitions",
		"flowcontrol.apiserver.k8s.io/v1 flowschemas",
	} {
		assert.True(t, served[want], "%s is not served", want)
	}
}

func TestConfigIsACopy(t *testing.T) {
	cp := controlplane.Require(t)
	cp.Config().Host = "elsewhere"
	assert.Contains(t, cp.Config().Host, "https://127.0.0.1:")
	assert.Negative(t, cp.Config().QPS, "no rate limit")
}

func TestKubectl(t *testing.T) {
	cp := controlplane.Require(t)
	kubectl, err := controlplane.Program("kubectl")
	if err != nil && os.Getenv(controlplane.RequireVariable) != "1" {
		t.Skip(err) // kubectl is not needed to start a control plane
	}
	require.NoError(t, err)
	out, err := exec.Command(kubectl, "--kubeconfig", cp.Kubeconfig(), "version", "-o", "json").CombinedOutput()
	require.NoError(t, err, "%s", out)
	var version struct {
		ClientVersion, ServerVersion struct{ GitVersion string }
	}
	require.NoError(t, json.Unmarshal(out, &version))
	assert.Equal(t, programs.KubernetesVersion, version.ServerVersion.GitVersion)
	assert.Equal(t, programs.KubernetesVersion, version.ClientVersion.GitVersion)

	config, err := cp.ConfigFor("mallory")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, controlplane.WriteKubeconfig(path, config))
	out, err = exec.Command(kubectl, "--kubeconfig", path, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "mallory", string(out))
}
