package contender

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Measurement is what it took to do something.
type Measurement struct {
	MS        float64
	CPUMS     float64 // of this process, user and system
	PeakRSSMB float64 // of this process, meanwhile
}

func measure(do func() error) (Measurement, error) {
	// This makes the peak what is there now.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return Measurement{}, err
	}
	cpu, begin := cpuTime(), time.Now()
	if err := do(); err != nil {
		return Measurement{}, err
	}
	m := Measurement{MS: Milliseconds(time.Since(begin)), CPUMS: Milliseconds(cpuTime() - cpu)}
	var err error
	m.PeakRSSMB, err = peakRSS()
	return m, err
}

// Milliseconds returns d in milliseconds, and fractions of them.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it has no reason to
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peakRSS returns the most memory, in MB, that this process had since the peak was reset.
func peakRSS() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("/proc/self/status has no VmHWM")
}
