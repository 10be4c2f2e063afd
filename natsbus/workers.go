package natsbus

import "sync"

// A workerPool does jobs, each in a goroutine that it may block as long as it likes. A
// goroutine that has done a job takes the next at once, so that many small jobs are done
// in a row: their answers leave in one write to the network, where a goroutine for each
// would make it one write each. If it is held up by a job, another goroutine is ready to
// do what is next. There are no idle goroutines.
type workerPool struct {
	mu    sync.Mutex
	jobs  []func() // guarded by mu
	ready bool     // guarded by mu; a goroutine that does no job is about to look for one
}

func (c *workerPool) add(job func()) {
	c.mu.Lock()
	c.jobs = append(c.jobs, job)
	c.ensureReadyLocked()
	c.mu.Unlock()
}

// ensureReadyLocked makes sure that a goroutine does what is next, which ends when there is
// nothing to do.
func (c *workerPool) ensureReadyLocked() {
	if len(c.jobs) > 0 && !c.ready {
		c.ready = true
		go c.work()
	}
}

func (c *workerPool) work() {
	c.mu.Lock()
	c.ready = false
	for len(c.jobs) > 0 {
		job := c.jobs[0]
		c.jobs[0] = nil
		c.jobs = c.jobs[1:]
		c.ensureReadyLocked()
		c.mu.Unlock()
		job()
		c.mu.Lock()
	}
	c.mu.Unlock()
}
