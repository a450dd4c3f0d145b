"""hls4ml: conversion of a fixed-point network to a project, and its C simulation."""
