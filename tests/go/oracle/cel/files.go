package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// readLines returns the lines of a file that are neither empty nor comments.
func readLines(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, line := range strings.Split(string(text), "\n") {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			lines = append(lines, trimmed)
		}
	}
	return lines, nil
}

// readKnown returns the reason of each expression that is known to differ.
func readKnown(path string) (map[string]string, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	for _, line := range lines {
		expression, reason, found := strings.Cut(line, "\t")
		if !found || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s: no reason after a tab: %s", path, line)
		}
		reasons[expression] = reason
	}
	return reasons, nil
}

// readObject reads numbers as the API server does: what has neither fraction nor exponent is an integer.
func readObject(path string) (any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var object any
	if err := decoder.Decode(&object); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return numbers(object)
}

func numbers(value any) (any, error) {
	switch value := value.(type) {
	case json.Number:
		if integer, err := value.Int64(); err == nil {
			return integer, nil
		}
		return value.Float64()
	case []any:
		for i := range value {
			item, err := numbers(value[i])
			if err != nil {
				return nil, err
			}
			value[i] = item
		}
	case map[string]any:
		for key := range value {
			item, err := numbers(value[key])
			if err != nil {
				return nil, err
			}
			value[key] = item
		}
	}
	return value, nil
}
