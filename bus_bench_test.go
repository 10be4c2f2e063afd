package platform

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/platformbus/platform/flux"
)

// mapBus is the baseline: a map behind a lock and a goroutine for each subscription. Its
// handle follows its instance too.
type mapBus struct {
	mu   sync.RWMutex
	subs map[flux.InstanceID]*mapSub // guarded by mu
}

type mapSub struct {
	Platform
	end chan error
}

func (b *mapBus) Subscribe(inst flux.InstanceID, p Platform, done chan<- error) {
	s := &mapSub{Platform: p, end: make(chan error, 1)}
	go func() { done <- <-s.end }()
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, ok := b.subs[inst]; ok {
		last.end <- ErrKicked
	}
	b.subs[inst] = s
}

func (b *mapBus) Connect(inst flux.InstanceID) (Platform, error) {
	return &mapHandle{MockPlatform: nil, bus: b, inst: inst}, nil
}

type mapHandle struct {
	*MockPlatform // for the methods that the benchmarks do not call
	bus           *mapBus
	inst          flux.InstanceID
}

func (h *mapHandle) Ping() error {
	h.bus.mu.RLock()
	s, ok := h.bus.subs[h.inst]
	h.bus.mu.RUnlock()
	if !ok {
		return errors.New("not connected")
	}
	return s.Ping()
}

// benchBus is the common interface of both buses.
type benchBus interface {
	Connecter
	Subscribe(flux.InstanceID, Platform, chan<- error)
}

var benchBuses = []struct {
	name string
	new  func() benchBus
}{
	{"standalone", func() benchBus { return NewStandaloneMessageBus(BusMetrics{}) }},
	{"map", func() benchBus { return &mapBus{subs: map[flux.InstanceID]*mapSub{}} }},
}

func benchInstance(i int) flux.InstanceID { return flux.InstanceID(fmt.Sprintf("instance-%07d", i)) }

// BenchmarkCall measures a Ping through a handle, on a bus of n instances. "direct" is the
// Platform's own share, to be subtracted.
func BenchmarkCall(b *testing.B) {
	mock := Platform(&MockPlatform{})
	b.Run("direct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := mock.Ping(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, n := range []int{1, 10_000} {
		for _, bb := range benchBuses {
			bus := bb.new()
			for i := range n {
				bus.Subscribe(benchInstance(i), mock, make(chan error, 1))
			}
			p, err := bus.Connect(benchInstance(n / 2))
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/instances=%d/serial", bb.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Ping(); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%s/instances=%d/parallel", bb.name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := p.Ping(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkConnect measures Connect.
func BenchmarkConnect(b *testing.B) {
	for _, bb := range benchBuses {
		bus := bb.new()
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bus.Connect("instance"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIdleSubscriptions reports the memory of an idle subscription, heap and stacks
// together, its ID included. An iteration makes a million of them on "standalone" and a
// hundred thousand on "map".
func BenchmarkIdleSubscriptions(b *testing.B) {
	mock := Platform(&MockPlatform{})
	for _, bb := range benchBuses {
		n := 1_000_000
		if bb.name == "map" {
			n = 100_000
		}
		b.Run(bb.name, func(b *testing.B) {
			var held uint64
			for b.Loop() {
				before := inUse()
				bus := bb.new()
				done := make(chan error)
				for i := range n {
					bus.Subscribe(benchInstance(i), mock, done)
				}
				held = inUse() - before
				runtime.KeepAlive(bus)
			}
			b.ReportMetric(float64(held)/float64(n), "B/subscription")
			b.ReportMetric(float64(held)/float64(n)*1e6/(1<<20), "MiB/million")
		})
	}
}

// inUse returns the bytes in live heap objects and stacks.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
