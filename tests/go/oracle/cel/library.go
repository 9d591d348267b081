package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// libraryTests returns the expressions in the tests of Kubernetes' CEL libraries: what their tables call `expr`, where its text can be
// read off.
func libraryTests(folder string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no tests", folder)
	}
	sort.Strings(files)
	var found []string
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return nil, err
		}
		constants := stringConstants(tree)
		ast.Inspect(tree, func(node ast.Node) bool {
			pair, ok := node.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, ok := pair.Key.(*ast.Ident)
			if !ok || key.Name != "expr" {
				return true
			}
			if text, ok := stringValue(pair.Value, constants); ok && strings.TrimSpace(text) != "" {
				found = append(found, text)
			}
			return true
		})
	}
	return found, nil
}

// stringConstants returns the file's own string constants, which the tables are put together from.
func stringConstants(tree *ast.File) map[string]string {
	constants := map[string]string{}
	for _, declaration := range tree.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.CONST {
			continue
		}
		for _, spec := range general.Specs {
			value := spec.(*ast.ValueSpec)
			for i, name := range value.Names {
				if i < len(value.Values) {
					if text, ok := stringValue(value.Values[i], constants); ok {
						constants[name.Name] = text
					}
				}
			}
		}
	}
	return constants
}

func stringValue(expression ast.Expr, constants map[string]string) (string, bool) {
	switch expression := expression.(type) {
	case *ast.BasicLit:
		if expression.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(expression.Value)
		return text, err == nil
	case *ast.Ident:
		text, ok := constants[expression.Name]
		return text, ok
	case *ast.BinaryExpr:
		left, leftOK := stringValue(expression.X, constants)
		right, rightOK := stringValue(expression.Y, constants)
		return left + right, leftOK && rightOK && expression.Op == token.ADD
	}
	return "", false
}
