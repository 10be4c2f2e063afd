//go:build race

package main

// raceFactor is how much more memory a process may take with the race detector, which has
// shadow memory of its own: from two to three times as much.
const raceFactor = 3
