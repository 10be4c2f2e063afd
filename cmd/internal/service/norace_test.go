//go:build !race

package service

const raceFactor = 1

// largeBody is the default of --max-body.
const largeBody = 16 << 20
