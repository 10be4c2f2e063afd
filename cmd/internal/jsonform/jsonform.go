// Package jsonform has the JSON forms of the service's API, which its openapi.yaml describes: the
// service writes them, and the command line reads and shows them.
package jsonform

import (
	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// An Instance is the current state of an instance.
type Instance struct {
	Instance  flux.InstanceID `json:"instance"`
	Connected bool            `json:"connected"`
	Version   string          `json:"version,omitempty"`
	Error     string          `json:"error,omitempty"`
	Help      string          `json:"help,omitempty"`
}

// A Service is a platform.Service.
type Service struct {
	ID         flux.ServiceID       `json:"id"`
	IP         string               `json:"ip,omitempty"`
	Metadata   map[string]string    `json:"metadata,omitempty"`
	Status     string               `json:"status"`
	Containers []platform.Container `json:"containers,omitempty"`
	Excuse     string               `json:"excuse,omitempty"` // why containers are not known
}

// Services returns the JSON form of services. Their excuses are one line each.
func Services(found []platform.Service) []Service {
	shown := make([]Service, len(found))
	for i, s := range found {
		shown[i] = Service{s.ID, s.IP, s.Metadata, s.Status, s.ContainersOrNil(), oneline.Line(s.Containers.Excuse)}
	}
	return shown
}

// A Definition is a platform.SyncDef.
type Definition struct {
	Actions []Action `json:"actions"`
}

// An Action is a platform.SyncAction.
type Action struct {
	ResourceID string `json:"resourceID"`
	Delete     string `json:"delete,omitempty"`
	Apply      string `json:"apply,omitempty"`
}

// Sync returns the JSON form of a SyncDef.
func Sync(def platform.SyncDef) Definition {
	actions := make([]Action, len(def.Actions))
	for i, a := range def.Actions {
		actions[i] = Action{a.ResourceID, string(a.Delete), string(a.Apply)}
	}
	return Definition{actions}
}
