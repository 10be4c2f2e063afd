// Package controlplane starts and stops a real Kubernetes control plane for tests,
// benchmarks and the demo: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, and kwok, which simulates the kubelets.
//
// The programs are those of the Kubernetes project, built from the modules below
// hack/controlplane by `make controlplane` and run as plain processes on loopback.
// No container engine is needed, and only the containers are simulated:
// Deployments roll out, Jobs complete and an image that cannot be pulled fails,
// but nothing runs in a pod.
//
// [Require] returns the control plane that all tests of a binary share. [Start]
// starts a new one, in about four seconds.
//
// # Differences from a cluster
//
// There is one node, with unlimited capacity. There is no network: Services have
// addresses that do not work, LoadBalancers stay pending, and a webhook can be
// reached only by URL. No volumes are provisioned. An image with the tag
// [MissingTag] cannot be pulled, and every other image can. etcd does not wait for
// the disk, and clients have no rate limit, so that a benchmark measures neither.
//
// # Concurrency
//
// A ControlPlane may be used by many goroutines at once, and many control planes
// may run on a machine at once.
//
// # Processes
//
// No program outlives the process that called Start, whether that ends by Stop, a
// panic, a test's time limit or SIGKILL. Each program leads a process group of its
// own, in which a shell waits for end of file on a pipe. Only the calling process
// holds the other end; the kernel closes it when the process ends, and the shell then
// kills its group. Unlike Linux's parent death signal this works on every Unix,
// includes the children of a program, and does not depend on the thread that started
// the program. Another such shell makes the data folder, and removes it.
//
// # Errors
//
// Every wait has a limit. An error names the condition that was waited for, or the
// program that ended, with the last lines of that program's log.
//
// # Secrets
//
// The data folder and the keys in it are readable only by their owner. Client and
// server authenticate each other by certificates of an authority that exists as
// long as the control plane; etcd listens on a socket in the data folder. No key is
// passed on a command line.
package controlplane
