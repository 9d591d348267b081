package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// line is one request as `guard describe` reads it: a method, a space, a request target.
type line struct{ method, target string }

func (asked line) String() string {
	if len(asked.target) > 300 {
		return fmt.Sprintf("%s %q… (%d bytes)", asked.method, asked.target[:300], len(asked.target))
	}
	return fmt.Sprintf("%s %q", asked.method, asked.target)
}

var (
	ordinaryMethods = []string{"GET", "GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "DELETE", "HEAD", "OPTIONS"}
	oddMethods      = []string{"get", "Get", "HEad", "CONNECT", "TRACE", "PROPFIND", "LIST", "WATCH", "delete", "M-SEARCH", "!#$%&'*+-.^_`|~",
		"G\x00T", "GÉT", "G@T", "(GET)", strings.Repeat("A", 300)}
	// What decides, and what looks like it.
	segments = []string{"api", "apis", "v1", "v1beta1", "v2", "apps", "batch", "rbac.authorization.k8s.io", "example.com", "namespaces", "namespaces",
		"default", "kube-system", "pods", "pods", "secrets", "nodes", "services", "deployments", "deletecollection", "watch", "watch", "proxy",
		"proxy", "status", "finalize", "exec", "log", "scale", "portforward", "binding", "token", "x", "web-0", "https:web:443", "healthz", "livez",
		"version", "openapi", "v3", "metrics", "logs", "swagger.json", ".well-known", "openid-configuration"}
	oddSegments = []string{"", "", ".", "..", "...", "%2e", "%2E%2e", ".%2e", "%2F", "a%2Fb", "%2f..%2f", "a+b", "a%2Bb", "a%20b", "a b", "%00", "a%00b",
		"%zz", "%", "%4", "%c3%a9", "é", "%ff", "\xff", "~", ":", "@", "*", "$", ";", "pods;x=1", "pods?x", "%3F", "%23", "#", "API", "Api", "APIS",
		"Namespaces", "WATCH", "Watch", "pRoXy", "%77atch", "name%73paces", "%61pi", "%25", "%2525", "\\", "..\\", "[", "]", "<script>", "\"", "'",
		"%0d%0a", "\t", "\x7f", "ſ", "K", "\u202e", "web.0", "-", "_"}
	templates = []string{
		"/api/v1/%s", "/api/v1/%s/%s", "/api/v1/%s/%s/%s", "/api/v1/namespaces/%s", "/api/v1/namespaces/%s/%s", "/api/v1/namespaces/%s/%s/%s",
		"/api/v1/namespaces/%s/%s/%s/%s", "/api/v1/namespaces/%s/%s/%s/%s/%s", "/api/v1/watch/%s", "/api/v1/watch/%s/%s",
		"/api/v1/watch/namespaces/%s/%s", "/api/v1/watch/namespaces/%s/%s/%s", "/api/v1/proxy/%s/%s", "/api/v1/proxy/namespaces/%s/%s/%s/%s",
		"/apis/%s/%s", "/apis/%s/%s/%s", "/apis/%s/%s/%s/%s", "/apis/%s/v1/namespaces/%s/%s/%s", "/apis/apps/v1/namespaces/%s/%s/%s/%s",
		"/apis/apps/v1/watch/%s", "/apis/apps/v1/watch/namespaces/%s/%s", "/%s", "/%s/%s", "/%s/%s/%s", "/%s/%s/%s/%s/%s/%s/%s", "/", "/api", "/apis",
		"/api/", "/api/v1", "/api/v1/", "/apis/apps", "/apis/apps/v1", "/apis/apps/v1/",
	}
	separators = []string{"/", "/", "/", "/", "/", "/", "/", "/", "//", "///", "/./", "/../", "%2F", "%2f", "\\", "/%2e/"}

	names = []string{"watch", "watch", "watch", "fieldSelector", "fieldSelector", "fieldSelector", "labelSelector", "labelSelector", "limit",
		"timeoutSeconds", "resourceVersion", "resourceVersionMatch", "continue", "allowWatchBookmarks", "sendInitialEvents", "pretty", "dryRun",
		"command", "container", "Watch", "WATCH", "fieldselector", "watch ", "w%61tch", "field%53elector", "watch[]", "", "%", "x%zz", "%ff"}
	values = map[string][]string{
		"watch": {"1", "true", "TRUE", "True", "t", "T", "0", "false", "FALSE", "fAlSe", "f", "F", "no", "yes", "", "01", " ", "%20", "+", "1%20", "junk",
			"fal%73e", "fal%C5%BFe", "falſe", "%00", "%ff", "2", "-1", "tru%65"},
		"fieldSelector": {"metadata.name=x", "metadata.name==x", "metadata.name!=x", "metadata.name%3Dx", "metadata.name%3D%3Dx", "metadata.name=",
			"metadata.name", "=x", "metadata.name=x,metadata.namespace=y", "metadata.namespace=y,metadata.name=x", "metadata.name=x,metadata.name=y",
			"metadata.name=x,metadata.name=x", "metadata.name=x,", ",metadata.name=x", ",,", "metadata.name=a%5C,b", "metadata.name=a%5C%5C", "metadata.name=a%5C=b",
			"metadata.name=a%5C", "metadata.name=a%5Cb", "metadata.name=..", "metadata.name=.", "metadata.name=a%2Fb", "metadata.name=a%25b", "metadata.name=%20x", "+metadata.name=x",
			"spec.nodeName=n", "status.phase!=Running", "metadata.name>x", "metadata.name=x%00", "metadata.name=%ff", "metadata.uid=1,metadata.name!=x",
			"metadata.name=é", "metadata.name=x=y", "metadata.name===x", "metadata.name=!x", "metadata.name!==x", "a=b=c", "metadata.name=x%3By", ""},
		"labelSelector": {"a=b", "a==b", "a!=b", "a", "!a", "a+in+(b,c)", "a in (b)", "a notin (b, c)", "a%20notin%20(b)", "a in ()", "a in (", "a>1", "a<x", "a>", "a=b,c=d", "a=b,",
			",", "a,,b", "=", "a=", "a= b", "a%3Db", "x/y=z", "x/y/z=1", "/a=b", "a/=b", "-a=b", "a=-b", "a=b-", "a=" + strings.Repeat("x", 64), strings.Repeat("x", 64) + "=a",
			strings.Repeat("x", 254) + "/a=b", "a=b c", "in in (in)", "notin", "in", "!in", "!!a", "! a", "a in (b),c notin (d),!e,f", "é=1", "a=é", "a=%00", "a=%ff", "a=B_c.d", "A=b",
			"a!b", "a!=", "a==", "a=!b", "(a)", "a in b", "a in (b,)", "a in (,b)", "a in (b,,c)", "a in (b c)", "a gt 1", "a>1,a<5", "a>01", "a>-1", "a>9223372036854775808", ""},
		"limit":          {"1", "500", "0", "-1", "x", "", "1.5", "9223372036854775807", "9223372036854775808", "+5", "%2B5", "0x10", "1_000", "%201", "1e3", "١"},
		"timeoutSeconds": {"1", "x", "", "-5", "99999999999999999999", "+", "%2B1", "0"},
	}
	plainValues = []string{"1", "true", "x", "", "All", "0", "abc%2Fdef", "%zz", "%", "a;b", "%00", "%ff", "é", "sh", "-c", "rm+-rf", "a=b", "a%26b"}
)

type generator struct{ *rand.Rand }

func (g generator) one(of []string) string { return of[g.IntN(len(of))] }

// in is true in one of n cases.
func (g generator) in(n int) bool { return g.IntN(n) == 0 }

func (g generator) line() line {
	return line{g.method(), g.target()}
}

func (g generator) method() string {
	if g.in(12) {
		return g.one(oddMethods)
	}
	return g.one(ordinaryMethods)
}

func (g generator) target() string {
	var path string
	switch g.IntN(10) {
	case 0, 1, 2:
		path = g.joined()
	default:
		path = g.filled(g.one(templates))
	}
	if g.in(8) {
		path = g.mutated(path)
	}
	if g.in(3000) {
		path += strings.Repeat(g.one([]string{"/x", "a", "%2F", "/"}), 1+g.IntN(70_000))
	}
	target := path + g.query()
	if g.in(25) {
		target = g.mutated(target)
	}
	// A line is one request.
	return strings.NewReplacer("\n", "", "\r", "").Replace(target)
}

func (g generator) segment() string {
	switch {
	case g.in(20):
		return g.one(oddSegments)
	case g.in(40):
		return g.one(segments) + g.one(oddSegments)
	}
	return g.one(segments)
}

func (g generator) filled(template string) string {
	for strings.Contains(template, "%s") {
		template = strings.Replace(template, "%s", strings.ReplaceAll(g.segment(), "%s", ""), 1)
	}
	if g.in(10) {
		template += "/"
	}
	if g.in(25) {
		template = strings.Replace(template, "/", g.one(separators), 1+g.IntN(4))
	}
	return template
}

func (g generator) joined() string {
	var path strings.Builder
	if !g.in(60) {
		path.WriteString(g.one(separators[:9]))
	}
	for range g.IntN(11) {
		path.WriteString(g.segment())
		path.WriteString(g.one(separators))
	}
	path.WriteString(g.segment())
	return path.String()
}

// mutated changes, drops, doubles or moves a few bytes.
func (g generator) mutated(text string) string {
	bytes := []byte(text)
	for range 1 + g.IntN(3) {
		if len(bytes) == 0 {
			break
		}
		at := g.IntN(len(bytes))
		switch g.IntN(5) {
		case 0:
			bytes = append(bytes[:at], bytes[at+1:]...)
		case 1:
			bytes[at] = byte(g.IntN(256))
		case 2:
			bytes[at] = "/%?&=;.+, #"[g.IntN(11)]
		case 3:
			bytes = append(bytes[:at], append([]byte(g.one(oddSegments)), bytes[at:]...)...)
		case 4:
			end := min(len(bytes), at+1+g.IntN(8))
			bytes = append(bytes[:end], bytes[at:]...)
		}
	}
	return string(bytes)
}

func (g generator) query() string {
	switch {
	case g.in(3):
		return ""
	case g.in(2000):
		return "?" + strings.Repeat(g.one([]string{"a=1&", "&", "watch=1&"}), 900+g.IntN(300)) + "watch=true"
	}
	var query strings.Builder
	query.WriteString(g.one([]string{"?", "?", "?", "?", "?", "??", "?&", "%3F"}))
	for range g.IntN(5) {
		query.WriteString(g.parameter())
		query.WriteString(g.one([]string{"&", "&", "&", "&", "&", "&", "&", "&", "&", "&", "&", "&", "&&", ";", "%26"}))
	}
	query.WriteString(g.parameter())
	return query.String()
}

func (g generator) parameter() string {
	name := g.one(names)
	if g.in(25) {
		return name
	}
	of, known := values[name]
	if !known || g.in(15) {
		of = plainValues
	}
	value := g.one(of)
	// Most clients encode what needs it; some do not.
	if !g.in(20) {
		value = strings.ReplaceAll(value, " ", "%20")
	}
	return name + "=" + value
}
