//go:build race

package service

// raceFactor is the factor by which the race detector may increase the memory of a process. Its
// shadow memory takes from two to three times as much.
const raceFactor = 3
