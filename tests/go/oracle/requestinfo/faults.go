package main

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// faults says of each reason for which the guard describes nothing whether a request has that fault. Some are stricter than
// Kubernetes on purpose: what two readers could take for two requests.
var faults = map[string]func(line, error) bool{
	"Method":             func(asked line, _ error) bool { return !token.MatchString(asked.method) || asked.method == "CONNECT" },
	"TooLong":            func(asked line, _ error) bool { return len(asked.target) > 64<<10 },
	"NotOriginForm":      func(asked line, _ error) bool { return !strings.HasPrefix(asked.target, "/") },
	"ForbiddenCharacter": func(asked line, _ error) bool { return forbidden.MatchString(asked.target) },
	"PercentEncoding":    func(asked line, _ error) bool { return brokenPercent.MatchString(asked.target) },
	"NotText":            func(asked line, _ error) bool { return !isText(asked.target) },
	"DotSegment":         func(asked line, _ error) bool { return hasDotSegment(asked.path()) },
	"Semicolon":          func(asked line, _ error) bool { return strings.Contains(asked.query(), ";") },
	"TooManyParameters":  func(asked line, _ error) bool { return strings.Count(asked.query(), "&") >= 1000 },
	"NoResource":         func(_ line, err error) bool { return err != nil },
}

var (
	token         = regexp.MustCompile("^[0-9A-Za-z!#$%&'*+.^_`|~-]+$")
	forbidden     = regexp.MustCompile(`[\x00-\x20\x7f#]`)
	brokenPercent = regexp.MustCompile(`%($|[^0-9a-fA-F]|.$|.[^0-9a-fA-F])`)
)

func (asked line) path() string {
	path, _, _ := strings.Cut(asked.target, "?")
	return path
}

func (asked line) query() string {
	_, query, _ := strings.Cut(asked.target, "?")
	return query
}

func hasDotSegment(path string) bool {
	decoded, err := url.PathUnescape(path)
	return err == nil && slices.ContainsFunc(strings.Split(decoded, "/"), func(segment string) bool {
		return segment == "." || segment == ".."
	})
}

// isText is whether decoding gives UTF-8 without NUL, in the path and in each parameter that Kubernetes looks at.
func isText(target string) bool {
	path, query, _ := strings.Cut(target, "?")
	if decoded, err := url.PathUnescape(path); err == nil && !isPlain(decoded) {
		return false
	}
	values, _ := url.ParseQuery(query)
	for _, name := range []string{"watch", "fieldSelector", "labelSelector", "limit", "timeoutSeconds"} {
		if !isPlain(values.Get(name)) {
			return false
		}
	}
	return utf8.ValidString(target)
}

func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.Contains(text, "\x00")
}
