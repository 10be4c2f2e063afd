//go:build race

package service

// raceFactor is the factor by which the race detector may increase the memory of a process. Its
// shadow memory takes from two to three times as much.
const raceFactor = 3

// largeBody is less than the default of --max-body: under the race detector that takes minutes.
const largeBody = 8 << 20
