package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/platformbus/platform/flux"
)

// brokenMemory has transports that share memory between calls, or with their caller.
func brokenMemory() []brokenTransport {
	rows := []brokenTransport{
		{ruleCaller, "sorts its caller's IDs", "SomeServices/leaves its arguments alone",
			intercept(func(next Platform, r request) answer { slices.Sort(r.ids); return r.send(next) }),
			[]string{"SomeServices left its arguments as", `got ["default/db"`}, 0, false},
		{ruleCaller, "takes from its caller's set", "AllServices/leaves its arguments alone",
			intercept(func(next Platform, r request) answer {
				a := r.send(next)
				clear(r.ignored)
				return a
			}), []string{"Ignored:map[]"}, 0, false},
		{ruleCaller, "overwrites its caller's definitions", "Apply/leaves its arguments alone",
			intercept(func(next Platform, r request) answer {
				a := r.send(next)
				for _, def := range r.defs {
					clear(def.NewDefinition)
				}
				return a
			}), []string{"Apply left its arguments as", `\x00\x00`}, 0, false},
		{ruleCaller, "sorts its caller's actions", "Sync/leaves its arguments alone",
			intercept(func(next Platform, r request) answer {
				slices.SortFunc(r.def.Actions, func(a, b SyncAction) int { return cmp.Compare(a.ResourceID, b.ResourceID) })
				return r.send(next)
			}), []string{"Sync left its arguments as", `got {Actions:[{ResourceID:"a"`}, 0, false},
		{ruleCaller, "empties its caller's actions", "Sync/leaves its arguments alone",
			intercept(func(next Platform, r request) answer {
				a := r.send(next)
				clear(r.def.Actions)
				return a
			}), []string{"Sync left its arguments as", `{ResourceID:"" Delete:nil Apply:nil}`}, 0, false},
	}
	for _, method := range withArguments {
		rows = append(rows, brokenTransport{ruleCaller, "writes to the arguments of an earlier " + method, method + "/leaves its arguments alone", func(mock Platform) Platform {
			var earlier request
			return &adapter{func(r request) answer {
				for _, def := range earlier.defs {
					clear(def.NewDefinition)
				}
				clear(earlier.ids)
				clear(earlier.ignored)
				clear(earlier.def.Actions)
				earlier = r
				return r.send(mock)
			}}
		}, []string{method + " left its arguments as"}, 0, false},
			brokenTransport{ruleCaller, "decodes the arguments of " + method + " into a buffer of all calls", "Overlap/keeps the arguments of " + method, func(mock Platform) Platform {
				var buffer request
				var mu sync.Mutex
				return &adapter{func(r request) answer {
					mu.Lock()
					own := r.clone()
					if buffer.method == own.method && len(buffer.ids) == len(own.ids) && len(buffer.defs) == len(own.defs) && len(buffer.def.Actions) == len(own.def.Actions) {
						copy(buffer.ids, own.ids)
						copy(buffer.defs, own.defs)
						copy(buffer.def.Actions, own.def.Actions)
						clear(buffer.ignored)
						for id := range own.ignored {
							buffer.ignored[id] = struct{}{}
						}
					} else {
						buffer = own
					}
					own.ids, own.defs, own.def, own.ignored = buffer.ids, buffer.defs, buffer.def, buffer.ignored
					mu.Unlock()
					return own.send(mock)
				}}
			}, []string{"had its arguments changed"}, 0, false})
	}
	for _, method := range []string{"AllServices", "SomeServices", "Export"} {
		rows = append(rows, brokenTransport{ruleCaller, "caches what " + method + " returned", method + "/gives its result away", func(mock Platform) Platform {
			cached := map[string]answer{}
			return &adapter{func(r request) answer {
				key := r.method + show(r.arguments())
				a, ok := cached[key]
				if !ok {
					a = r.send(mock)
					cached[key] = a
				}
				return a
			}}
		}, []string{method + " returned"}, 0, false})
	}
	for shares, copied := range map[string]func(answer) answer{
		"list of services": func(a answer) answer {
			for i, s := range a.services {
				a.services[i].Metadata, a.services[i].Containers.Containers = maps.Clone(s.Metadata), slices.Clone(s.Containers.Containers)
			}
			return a
		},
		"metadata": func(a answer) answer {
			metadata := a.services[0].Metadata
			a = a.clone()
			a.services[0].Metadata = metadata
			return a
		},
		"containers": func(a answer) answer {
			containers := a.services[0].Containers.Containers
			a = a.clone()
			a.services[0].Containers.Containers = containers
			return a
		},
	} {
		rows = append(rows, brokenTransport{ruleCaller, "caches the " + shares, "AllServices/gives its result away", func(mock Platform) Platform {
			var cached *answer
			return &adapter{func(r request) answer {
				if cached == nil {
					a := r.send(mock)
					cached = &a
				}
				return copied(*cached)
			}}
		}, []string{"AllServices returned the services"}, 0, false})
	}
	for _, method := range methods {
		rows = append(rows, brokenTransport{ruleCaller, "reuses the memory of what " + method + " returned", method + "/leaves earlier answers alone", func(mock Platform) Platform {
			var pool struct {
				services []Service
				bytes    []byte
				apply    ApplyError
				sync     SyncError
				text     reusedError
			}
			return &adapter{func(r request) answer {
				a := r.send(mock).clone()
				pool.services = append(pool.services[:0], a.services...)
				a.services = pool.services
				switch r.method {
				case "Export":
					pool.bytes = append(pool.bytes[:0], a.export...)
					a.export = pool.bytes
				case "Version":
					pool.bytes = append(pool.bytes[:0], a.version...)
					a.version = unsafe.String(unsafe.SliceData(pool.bytes), len(pool.bytes)) // as decoders without copies do
				}
				switch err := a.err.(type) {
				case nil:
				case ApplyError:
					if pool.apply == nil {
						pool.apply = ApplyError{}
					}
					clear(pool.apply)
					for id, err := range err {
						pool.apply[id] = err
					}
					a.err = pool.apply
				case SyncError:
					if pool.sync == nil {
						pool.sync = SyncError{}
					}
					clear(pool.sync)
					for id, err := range err {
						pool.sync[id] = err
					}
					a.err = pool.sync
				default:
					pool.text.text = err.Error()
					a.err = &pool.text
				}
				return a
			}}
		}, []string{"looked at again after later calls"}, 0, false})
	}
	return rows
}

type reusedError struct{ text string }

func (e *reusedError) Error() string { return e.text }

// brokenOverlap has transports that do not expect several calls at a time.
func brokenOverlap() []brokenTransport {
	rows := []brokenTransport{
		{ruleConcurrent, "panics at the second call at a time", "Overlap/gives 256 calls that end in reverse order their own answers", func(mock Platform) Platform {
			var calls atomic.Int32
			return &adapter{func(r request) answer {
				defer calls.Add(-1)
				if calls.Add(1) > 1 {
					panic("one at a time, please")
				}
				return r.send(mock)
			}}
		}, []string{"had not reached the platform", "panic: one at a time, please"}, 0, false},
		{ruleConcurrent, "ends the goroutine of the second call at a time", "Overlap/gives 256 calls that end in reverse order their own answers", func(mock Platform) Platform {
			var calls atomic.Int32
			return &adapter{func(r request) answer {
				defer calls.Add(-1)
				if calls.Add(1) > 1 {
					runtime.Goexit()
				}
				return r.send(mock)
			}}
		}, []string{"had not reached the platform", errExited.Error()}, 0, false},
		{ruleConcurrent, "has room for 128 answers", "Overlap/gives 256 calls that end in reverse order their own answers", func(mock Platform) Platform {
			var calls atomic.Int32
			return &adapter{func(r request) answer {
				full := calls.Add(1) > 128
				a := r.send(mock)
				if full {
					return answer{}
				}
				return a
			}}
		}, []string{"failed, but returned no error"}, 0, false},
		{ruleConcurrent, "refuses a call when no ID of one byte is free", "Overlap/gives a call its own answer after 300 others", func(mock Platform) Platform {
			var mu sync.Mutex
			var next byte
			inUse := map[byte]bool{}
			return &adapter{func(r request) answer {
				mu.Lock()
				next++
				id := next
				refused := inUse[id]
				inUse[id] = true
				mu.Unlock()
				if refused {
					return answer{err: errors.New("the ID is in use")}
				}
				a := r.send(mock)
				mu.Lock()
				defer mu.Unlock()
				delete(inUse, id)
				return a
			}}
		}, []string{"the ID is in use"}, 0, false},
		{ruleConcurrent, "panics when many call", "Overlap/gives each of 64 concurrent calls its own answer", intercept(func(next Platform, r request) answer {
			if r.namespace != "" && r.namespace != "ns-000" {
				panic("one at a time, please")
			}
			return r.send(next)
		}), []string{"panic: one at a time, please"}, 0, false},
		{ruleConcurrent, "ends the goroutine of its caller", "Overlap/gives each of 64 concurrent calls its own answer", intercept(func(next Platform, r request) answer {
			if r.namespace != "" {
				runtime.Goexit()
			}
			return r.send(next)
		}), []string{errExited.Error()}, 0, false},
		{ruleConcurrent, "refuses the 101st concurrent call", "Overlap/gives 256 calls that end in reverse order their own answers", func(mock Platform) Platform {
			slots := make(chan struct{}, 100)
			return &adapter{func(r request) answer {
				select {
				case slots <- struct{}{}:
					defer func() { <-slots }()
					return r.send(mock)
				default:
					return answer{err: errors.New("too many requests")}
				}
			}}
		}, []string{"had not reached the platform", "the call returned the error: too many requests"}, 0, false},
		{ruleConcurrent, "gives answers to calls in the order of the calls", "Overlap/gives 256 calls that end in reverse order their own answers", func(mock Platform) Platform {
			var mu sync.Mutex
			var waiting []chan answer
			return &adapter{func(r request) answer {
				own := make(chan answer, 1)
				mu.Lock()
				waiting = append(waiting, own)
				mu.Unlock()
				go func() {
					a := r.send(mock)
					mu.Lock()
					defer mu.Unlock()
					waiting[0] <- a
					waiting = waiting[1:]
				}()
				return <-own
			}}
		}, []string{"the platform answered a call, and there returned call no.", "got 0", "want 255"}, 0, false},
		{ruleConcurrent, "gives calls an ID of one byte", "Overlap/gives a call its own answer after 300 others", func(mock Platform) Platform {
			var mu sync.Mutex
			var next byte
			waiting := map[byte]chan answer{}
			return &adapter{func(r request) answer {
				own := make(chan answer, 1)
				mu.Lock()
				next++
				id := next
				if earlier := waiting[id]; earlier != nil {
					earlier <- answer{err: errors.New("replaced")}
				}
				waiting[id] = own
				mu.Unlock()
				go func() {
					a := r.send(mock)
					mu.Lock()
					defer mu.Unlock()
					if to := waiting[id]; to != nil {
						to <- a
					}
					delete(waiting, id)
				}()
				return <-own
			}}
		}, []string{"Sync returned an error of another type", "replaced"}, 0, false},
		{ruleDuration, "has a time-out", "Overlap/lets calls take their time", intercept(func(next Platform, r request) answer {
			begin := time.Now()
			a := r.send(next)
			if time.Since(begin) > 100*time.Millisecond {
				return answer{err: UnavailableError(errors.New("timeout"))}
			}
			return a
		}), []string{"after a call that took 250ms", "timeout"}, 0, false},
		{ruleDuration, "makes a slow Sync again", "Overlap/lets calls take their time", intercept(func(next Platform, r request) answer {
			begin := time.Now()
			a := r.send(next)
			if r.method == "Sync" && time.Since(begin) > 100*time.Millisecond {
				return r.send(next)
			}
			return a
		}), []string{"the number of times that a slow Sync was made", "got 2\n    want 1\n"}, 0, false},
		{ruleDuration, "makes a slow Apply again", "Overlap/lets calls take their time", intercept(func(next Platform, r request) answer {
			begin := time.Now()
			a := r.send(next)
			if r.method == "Apply" && time.Since(begin) > 100*time.Millisecond {
				return r.send(next)
			}
			return a
		}), []string{"the number of times that a slow Apply was made", "got 2"}, 0, false},
		{ruleDuration, "forgets the status in a slow answer, in place", "Overlap/lets calls take their time",
			changeServices(func(s *Service) { s.Status = "" }), []string{"AllServices returned the services", `Status:""`}, 0, false},
		{ruleDuration, "forgets the status in an answer that it asked for twice, in place", "Overlap/lets calls take their time", intercept(func(next Platform, r request) answer {
			if !writes(r.method) {
				r.send(next)
			}
			a := r.send(next)
			for i := range a.services {
				a.services[i].Status = ""
			}
			return a
		}), []string{"AllServices returned the services", `Status:""`}, 0, false},
	}
	for _, method := range withArguments {
		rows = append(rows, brokenTransport{ruleConcurrent, "mixes answers of " + method + " up", "Overlap/gives each of 64 concurrent calls its own answer", onlyFor(method, func(mock Platform) Platform {
			var mu sync.Mutex
			var last *answer
			return &adapter{func(r request) answer {
				a := r.send(mock)
				mu.Lock()
				defer mu.Unlock()
				if last == nil {
					last = &a
					return a
				}
				a, *last = *last, a
				return a
			}}
		}), []string{method + " returned"}, 0, false})
	}
	for i, method := range methods {
		rows = append(rows, brokenTransport{ruleSlow, fmt.Sprintf("serves %d calls of %s at a time", i+1, method), "Overlap/is not held up by " + method, func(mock Platform) Platform {
			turns := make(chan struct{}, i+1)
			return &adapter{func(r request) answer {
				if r.method == method {
					turns <- struct{}{}
					defer func() { <-turns }()
				}
				return r.send(mock)
			}}
		}, []string{"hang: " + method}, hasty, false})
	}
	rows = append(rows, brokenTransport{ruleSlow, "is busy during Sync", "Overlap/is not held up by Sync", func(mock Platform) Platform {
		var syncing atomic.Int32
		return &adapter{func(r request) answer {
			if r.method == "Sync" {
				syncing.Add(1)
				defer syncing.Add(-1)
			} else if syncing.Load() > 0 {
				return answer{err: errors.New("busy")}
			}
			return r.send(mock)
		}}
	}, []string{"AllServices succeeded, but returned an error", "busy"}, 0, false})
	return append(rows, brokenTransport{ruleSlow, "holds a lock during Sync that Ping wants too", "Overlap/is not held up by Sync", func(mock Platform) Platform {
		var mu sync.RWMutex
		return &adapter{func(r request) answer {
			switch r.method {
			case "Sync":
				mu.RLock()
				defer mu.RUnlock()
			case "Ping":
				mu.Lock()
				defer mu.Unlock()
			}
			return r.send(mock)
		}}
	}, []string{"hang: Ping, during 8 calls of Sync, did not return"}, hasty, false})
}

// brokenContexts has transports whose WithContext does less, or more, than it should.
func brokenContexts() []brokenTransport {
	var rows []brokenTransport
	plain := func(p Platform) Platform { return &adapter{func(r request) answer { return r.send(p) }} }
	for _, method := range methods {
		rows = append(rows,
			brokenTransport{ruleView, "has a view that does not pass on " + method, "WithContext/passes on " + method, func(mock Platform) Platform {
				return viewer{mock, func(context.Context) Platform {
					return &adapter{func(r request) answer {
						if r.method == method {
							return answer{}
						}
						return r.send(mock)
					}}
				}}
			}, []string{"calls that the platform received"}, 0, false},
			brokenTransport{ruleView, "has a view that loses the answer of " + method, "WithContext/passes on " + method, func(mock Platform) Platform {
				return viewer{mock, func(context.Context) Platform {
					return onlyFor(method, intercept(func(next Platform, r request) answer { r.send(next); return answer{} }))(mock)
				}}
			}, []string{method + " "}, 0, false},
			brokenTransport{ruleEnded, "has a view that makes " + method + " always", "WithContext/refuses " + method + " once the context has ended", func(mock Platform) Platform {
				return viewer{mock, func(ctx context.Context) Platform {
					return &adapter{func(r request) answer {
						if r.method == method {
							return r.send(mock)
						}
						return r.send(WithContext(ctx, plain(mock)))
					}}
				}}
			}, []string{map[bool]string{true: "does not match the cause", false: "though the context had ended"}[method == "Ping" || method == "Version"]}, 0, false})
	}
	endedIn := "WithContext/refuses Sync once the context has ended"
	return append(rows,
		brokenTransport{ruleView, "has a view that forgets the status, in place", "WithContext/passes on AllServices", func(mock Platform) Platform {
			return viewer{mock, func(context.Context) Platform {
				return changeServices(func(s *Service) { s.Status = "" })(mock)
			}}
		}, []string{"AllServices returned the services", `Status:""`}, 0, false},
		brokenTransport{ruleView, "has a view for one call", "WithContext/passes on Sync", func(mock Platform) Platform {
			return viewer{mock, func(context.Context) Platform {
				closed := false
				return &adapter{func(r request) answer {
					if closed {
						return answer{err: errors.New("connection closed")}
					}
					closed = true
					return r.send(mock)
				}}
			}}
		}, []string{"calls that the platform received", "connection closed"}, 0, false},
		brokenTransport{ruleEnded, "returns context.Canceled for a cause", endedIn, func(mock Platform) Platform {
			return viewer{mock, func(ctx context.Context) Platform {
				return &adapter{func(r request) answer {
					if ctx.Err() != nil {
						return answer{err: ctx.Err()}
					}
					return r.send(mock)
				}}
			}}
		}, []string{"does not match the cause", `got *errors.errorString "context canceled"`}, 0, false},
		brokenTransport{ruleEnded, "makes a call and then looks at the context", "WithContext/refuses Apply once the context has ended", func(mock Platform) Platform {
			return viewer{mock, func(ctx context.Context) Platform {
				return &adapter{func(r request) answer {
					a := r.send(mock)
					if err := context.Cause(ctx); err != nil {
						return answer{err: err}
					}
					return a
				}}
			}}
		}, []string{"though the context had ended"}, 0, false},
		brokenTransport{ruleEnded, "is unavailable when a context has ended", endedIn, func(mock Platform) Platform {
			return viewer{mock, func(ctx context.Context) Platform {
				return &adapter{func(r request) answer {
					if ctx.Err() != nil {
						return answer{err: UnavailableError(errors.New("no answer"))}
					}
					return r.send(mock)
				}}
			}}
		}, []string{"does not match the cause"}, 0, false},
		brokenTransport{ruleEnded, "looks at the context when it makes the view", endedIn, func(mock Platform) Platform {
			return viewer{mock, func(ctx context.Context) Platform {
				err := context.Cause(ctx)
				return &adapter{func(r request) answer {
					if err != nil {
						return answer{err: err}
					}
					return r.send(mock)
				}}
			}}
		}, []string{"though the context had ended"}, 0, false},
		brokenTransport{ruleNested, "obeys the last context only", "WithContext/obeys each context of a view of a view", func(mock Platform) Platform {
			var view func(ctx context.Context) Platform
			view = func(ctx context.Context) Platform { return viewer{WithContext(ctx, plain(mock)), view} }
			return viewer{mock, view}
		}, []string{"does not match the cause"}, 0, false},
		brokenTransport{ruleNested, "obeys the first context only", "WithContext/obeys each context of a view of a view", func(mock Platform) Platform {
			return viewer{mock, func(ctx context.Context) Platform {
				first := WithContext(ctx, plain(mock))
				return viewer{first, func(context.Context) Platform { return first }}
			}}
		}, []string{"does not match the cause"}, 0, false},
		brokenTransport{ruleNested, "has no view of a view", "WithContext/obeys each context of a view of a view", func(mock Platform) Platform {
			return viewer{mock, func(outer context.Context) Platform {
				return viewer{WithContext(outer, plain(mock)), func(inner context.Context) Platform {
					return &adapter{func(r request) answer {
						if err := errors.Join(context.Cause(outer), context.Cause(inner)); err != nil {
							return answer{err: err}
						}
						return answer{err: errors.New("it has a context already")}
					}}
				}}
			}}
		}, []string{"both contexts of which are live", "it has a context already"}, 0, false},
		brokenTransport{ruleOthers, "sets the context of the original", "WithContext/leaves other calls alone", func(mock Platform) Platform {
			var mu sync.Mutex
			last := context.Background()
			p := &adapter{func(r request) answer {
				mu.Lock()
				ctx := last
				mu.Unlock()
				return r.send(WithContext(ctx, plain(mock)))
			}}
			return viewer{p, func(ctx context.Context) Platform {
				mu.Lock()
				defer mu.Unlock()
				last = ctx
				return p
			}}
		}, []string{"after the context of a view had ended"}, 0, false},
		brokenTransport{ruleOthers, "sets the context of the original too", "WithContext/leaves other calls alone", func(mock Platform) Platform {
			last := context.Background()
			return viewer{&adapter{func(r request) answer { return r.send(WithContext(last, plain(mock))) }}, func(ctx context.Context) Platform {
				last = ctx
				return WithContext(ctx, plain(mock))
			}}
		}, []string{"of another view, after the context of a view had ended"}, 0, false},
		brokenTransport{ruleOthers, "has one context for all views", "WithContext/leaves other calls alone", func(mock Platform) Platform {
			var last context.Context
			return viewer{mock, func(ctx context.Context) Platform {
				last = ctx
				return &adapter{func(r request) answer { return r.send(WithContext(last, plain(mock))) }}
			}}
		}, []string{"of another view, after the context of a view had ended"}, 0, false},
		brokenTransport{ruleOthers, "connects anew when the context of a view has ended", "WithContext/leaves other calls alone", func(mock Platform) Platform {
			var mu sync.Mutex
			connection := make(chan struct{})
			return viewer{mock, func(ctx context.Context) Platform {
				return &adapter{func(r request) answer {
					mu.Lock()
					own := connection
					mu.Unlock()
					answered := make(chan answer, 1)
					go func() { answered <- r.send(mock) }()
					select {
					case a := <-answered:
						return a
					case <-own:
						return answer{err: errors.New("connection closed")}
					case <-ctx.Done():
						mu.Lock()
						defer mu.Unlock()
						close(connection)
						connection = make(chan struct{})
						return answer{err: context.Cause(ctx)}
					}
				}}
			}}
		}, []string{"in progress when the context of a view ended", "connection closed"}, 0, true},
		brokenTransport{ruleOthers, "closes the connection of all views", "WithContext/leaves other calls alone", func(mock Platform) Platform {
			closed := make(chan struct{})
			closeAll := sync.OnceFunc(func() { close(closed) })
			call := func(ctx context.Context, r request) answer {
				answered := make(chan answer, 1)
				go func() { answered <- r.send(mock) }()
				select {
				case a := <-answered:
					if ctx.Err() != nil {
						closeAll()
					}
					return a
				case <-closed:
					return answer{err: errors.New("connection closed")}
				}
			}
			return viewer{
				&adapter{func(r request) answer { return call(context.Background(), r) }},
				func(ctx context.Context) Platform {
					return &adapter{func(r request) answer { return call(ctx, r) }}
				},
			}
		}, []string{"connection closed"}, 0, false},
		brokenTransport{ruleStops, "returns neither the cause nor the result", "WithContext/ends a call in progress, or lets it end", stopsWith(
			func(context.Context) error { return flux.Missing{BaseError: &flux.BaseError{Err: context.Canceled}} }), []string{"returned neither the cause nor its own result", "context canceled"}, 0, true},
		brokenTransport{ruleStops, "never returns once the context has ended", "WithContext/ends a call in progress, or lets it end", func(mock Platform) Platform {
			return viewer{mock, func(context.Context) Platform {
				return &adapter{func(r request) answer {
					r.send(mock)
					select {}
				}}
			}}
		}, []string{"hang: AllServices, whose context has ended, did not return"}, hasty, false},
		brokenTransport{ruleStops, "does not stop calls, though it says so", "WithContext/ends a call in progress, or lets it end", func(mock Platform) Platform {
			return plain(mock)
		}, []string{"hang: AllServices, whose context has ended, did not return"}, hasty, true},
		brokenTransport{ruleStops, "is broken after a call was stopped", "WithContext/ends a call in progress, or lets it end", func(mock Platform) Platform {
			var stopped bool
			p := &adapter{func(r request) answer {
				if stopped {
					return answer{err: errors.New("unexpected answer of an earlier call")}
				}
				return r.send(mock)
			}}
			return viewer{p, func(ctx context.Context) Platform {
				return &adapter{func(r request) answer {
					a := r.send(WithContext(ctx, mock))
					stopped = true
					return a
				}}
			}}
		}, []string{"of the original, after the context of a view had ended", "unexpected answer"}, 0, true},
	)
}

// stopsWith returns a wrap whose calls in progress, when their context ends, return an error.
func stopsWith(failure func(context.Context) error) func(Platform) Platform {
	return func(mock Platform) Platform {
		return viewer{mock, func(ctx context.Context) Platform {
			return &adapter{func(r request) answer {
				answered := make(chan answer, 1)
				go func() { answered <- r.send(mock) }()
				select {
				case a := <-answered:
					return a
				case <-ctx.Done():
					return answer{err: failure(ctx)}
				}
			}}
		}}
	}
}
