// Package controlplane starts and stops a real Kubernetes control plane for tests,
// benchmarks and the demo: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, and kwok, which plays the kubelets.
//
// The programs are those that Kubernetes publishes, built from the modules below
// hack/controlplane by `make controlplane` and run as plain processes on loopback.
// No container engine is needed, and nothing is mocked but the containers:
// Deployments roll out, Jobs complete and an image that cannot be pulled fails,
// but nothing runs in a pod.
//
// [Require] gives a test the control plane that all tests of its binary share.
// [Start] gives one of its own to whoever needs it, in about four seconds.
//
// # What differs from a cluster
//
// There is one node, which never runs out of room. No network: Services have
// addresses that lead nowhere, LoadBalancers stay pending, and a webhook is
// reached by URL only. No volumes are provisioned. An image with the tag
// [MissingTag] cannot be pulled, and every other one can. etcd does not wait for
// the disk, and no client of ours is limited in its rate, so that a benchmark
// measures neither.
//
// # Concurrency
//
// A ControlPlane may be used by many goroutines at once, and many control planes
// may run on a machine at once.
//
// # Processes
//
// Nothing outlives the process that called Start, however that ends: Stop, a
// panic, a test's time limit, SIGKILL. Each program leads a process group of its
// own, in which a shell waits for the end of a pipe whose other end only we hold;
// the kernel closes it with us, and the shell then kills its group. Unlike
// Linux's parent death signal this works on every Unix, covers what a program
// forks, and does not depend on which thread started the program. One more such
// shell removes the data folder.
//
// # Errors
//
// Every wait has a limit. An error says what was waited for, or which program
// ended, with the last lines of that program's log.
//
// # Secrets
//
// The data folder is readable by its owner only and so are the keys in it. Client
// and server authenticate each other by certificates of an authority that lives
// as long as the control plane; etcd listens on a socket in the data folder. No
// key is ever on a command line.
package controlplane
