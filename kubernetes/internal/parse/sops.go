package parse

import (
	"errors"
	"fmt"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// encryptedPrefix begins each value that SOPS has encrypted, whatever the key is from.
const encryptedPrefix = "ENC[AES256_GCM,"

// isEncrypted says whether content is as SOPS leaves a file that it encrypts: with a map of
// its own beside the values, or with a value that is encrypted.
func isEncrypted(content map[string]any) bool {
	kind, _ := content["kind"].(string)
	if kind == "SopsSecret" {
		return false // its controller decrypts it in the cluster
	}
	if marks, ok := content["sops"].(map[string]any); ok {
		for _, name := range []string{"mac", "version", "lastmodified"} {
			if _, ok := marks[name]; ok {
				return true
			}
		}
	}
	for name, value := range content {
		if name == "items" && strings.HasSuffix(kind, "List") {
			continue // each of them is looked at by itself
		}
		if hasEncrypted(value) {
			return true
		}
	}
	return false
}

func hasEncrypted(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for _, below := range v {
			if hasEncrypted(below) {
				return true
			}
		}
	case []any:
		for _, below := range v {
			if hasEncrypted(below) {
				return true
			}
		}
	case string:
		return strings.HasPrefix(v, encryptedPrefix) && strings.HasSuffix(v, "]")
	}
	return false
}

// encryptedError names the object as far as it can be read.
func encryptedError(content map[string]any) error {
	const text = "it is encrypted with SOPS, and has to be decrypted first"
	kind, _ := content["kind"].(string)
	if kinds.CheckKind(kind) != nil {
		return errors.New(text)
	}
	metadata, _ := content["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if kinds.CheckName(name) != nil || strings.HasPrefix(name, encryptedPrefix) {
		return fmt.Errorf("%s: %s", kind, text)
	}
	return fmt.Errorf("%s %.100q: %s", kind, name, text)
}
