// Package script tests the command line as terminal sessions: one text file is one story.
package script
